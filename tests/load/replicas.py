"""`python -m tests.load.replicas`: schedulers that share a PostgreSQL, one of which is killed again and again.

A table, and `build/load/replicas.json`. Rows/s depend on what else the machine does, the CPU of 1,000 rows hardly.
"""

import argparse
import asyncio
import itertools
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg
from lorax_batch_client import Client, Dataset, JobState
from lorax_batch_scheduler.postgres.embedded import BATCH_SETTINGS, EmbeddedPostgres

from bench.instant import build, instant_server
from bench.service import write_dataset
from tests.faults.replicas import Replicas
from tests.load.cpu_meter import CpuMeter
from tests.load.memory import tree_cpu_seconds
from tests.load.stage import CALL_TIMEOUT, create_job, server_stats
from tests.processes import Service

REPORT = Path("build") / "load" / "replicas.json"
LOOK_S = 0.5
WINDOW_S = 10.0
SETTINGS = {**BATCH_SETTINGS, "max_connections": "120"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoad:
    """How much of everything."""

    seconds: float = 60.0
    schedulers: int = 3
    kill_every_s: float = 10.0
    """0: nobody is killed."""
    rows: int = 20_000
    """Of each job."""
    jobs: int = 4
    """So many are unfinished at any time."""
    in_flight: int = 256
    """Rows of each scheduler."""
    delay_ms: int = 20
    """Of each answer."""
    lease_s: float | None = None
    """None: the default."""
    idle_s: float = 5.0
    """How long to look at processes that have nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReport:
    """What became of it."""

    kills: int
    jobs: int
    succeeded: int
    rows: int
    lost: int
    """Rows without a line in their job's files."""
    doubled: int
    """Lines of rows that have another one."""
    sent_again: int
    """Rows that were answered, and not committed, when their scheduler was killed."""
    rows_per_second: float
    slowest_rows_per_second: float
    """Over any ten seconds."""
    longest_pause_s: float
    """Without a row being committed."""
    cpu_s_a_thousand: dict[str, float]
    """CPU seconds of 1,000 rows, by part."""
    transactions_a_thousand: float
    """Of PostgreSQL, for 1,000 rows."""
    cores_busy: float
    """Of this machine, with everything else that it did."""
    rows_per_second_alone: float
    """What this machine would give if it did nothing else but this, its servers and callers included."""
    idle_transactions_per_second: float
    """Of PostgreSQL, with all processes and no job."""
    idle_cores: float
    """Busy with that: schedulers, API and PostgreSQL."""


def measure(load: ReplicaLoad) -> ReplicaReport:
    """Run jobs for so long, and check every line of their files."""
    with _stage(load) as stage:
        return stage.measure()


class _Stage:
    """Schedulers, an API and their surroundings."""

    def __init__(self, load: ReplicaLoad, folder: Path, dsn: str, postgres_pid: int, urls: list[str]) -> None:
        self._load = load
        self._folder = folder
        self._dsn = dsn
        self._urls = urls
        # Cold: memory and processor time are each process's own.
        self.replicas = Replicas(folder, dsn, cold=True)
        self._api = self.replicas.make("api")
        specs = [f"{url},max-in-flight={load.in_flight}" for url in urls]
        self._schedulers = [self.replicas.make("scheduler", spec, lease_s=load.lease_s) for spec in specs]
        self._postgres_pid = postgres_pid

    def measure(self) -> ReplicaReport:
        for service in (self._api, *self._schedulers):
            service.begin()
        for service in (self._api, *self._schedulers):
            service.wait_ready()
        with Client(self._api.target, timeout=CALL_TIMEOUT) as client:
            dataset = self._dataset(client)
            client.wait(create_job(client, dataset))  # what is warm then stays warm
            idle_transactions, idle_cores = self._idle()
            answered, transactions = self._answered(), self._transactions()
            meter = self._meter()
            feeder = Feeder(client, dataset, self._load.jobs)
            with feeder.feeding():
                looks, kills = asyncio.run(self._kill_and_look(meter))
                used, cores_busy = meter.seconds(), meter.machine_cores()
                transactions = self._transactions() - transactions
            jobs = [client.wait(job_id) for job_id in feeder.job_ids]
            rows = sum(job.counts.total for job in jobs)
            lines = [_lines(client, job.job_id) for job in jobs]
        committed, took_s = looks[-1][1] - looks[0][1], looks[-1][0] - looks[0][0]
        used["servers and callers"] = used.pop("all") - used["schedulers"] - used["api"]
        return ReplicaReport(
            kills=kills,
            jobs=len(jobs),
            succeeded=sum(job.state is JobState.SUCCEEDED for job in jobs),
            rows=rows,
            lost=sum(len(set(range(1, dataset.row_count + 1)).difference(each)) for each in lines),
            doubled=sum(len(each) - len(set(each)) for each in lines),
            sent_again=self._answered() - answered - rows,
            rows_per_second=committed / took_s,
            slowest_rows_per_second=_slowest(looks),
            longest_pause_s=_longest_pause(looks),
            cpu_s_a_thousand={part: seconds / committed * 1_000 for part, seconds in used.items()},
            transactions_a_thousand=transactions / committed * 1_000,
            cores_busy=cores_busy,
            rows_per_second_alone=committed / sum(used.values()) * meter.cores,
            idle_transactions_per_second=idle_transactions,
            idle_cores=idle_cores,
        )

    def _meter(self) -> CpuMeter:
        meter = CpuMeter()
        meter.add("api", self._api.pid)
        for scheduler in self._schedulers:
            meter.add("schedulers", scheduler.pid)
        meter.add("postgresql", self._postgres_pid, read=tree_cpu_seconds)
        meter.add("all", os.getpid(), read=tree_cpu_seconds)  # but PostgreSQL, which is nobody's child
        return meter

    def _idle(self) -> tuple[float, float]:
        """Return the transactions a second, and the cores, that processes take which have nothing to do."""
        meter, before, began = self._meter(), self._transactions(), time.monotonic()
        time.sleep(self._load.idle_s)
        took_s = time.monotonic() - began
        used = meter.seconds()
        return (self._transactions() - before) / took_s, (sum(used.values()) - used["all"]) / took_s

    def _transactions(self) -> int:
        async def ask() -> int:
            connection = await asyncpg.connect(self._dsn)
            try:
                return int(
                    await connection.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'")
                )
            finally:
                await connection.close()

        return asyncio.run(ask())

    def _dataset(self, client: Client) -> Dataset:
        path = self._folder / "rows.jsonl"
        write_dataset(path, self._load.rows)
        return client.wait_for_dataset(client.upload_dataset(path).dataset_id)

    def _answered(self) -> int:
        return sum(stats["requests"] for stats in server_stats(self._urls))

    async def _kill_and_look(self, meter: CpuMeter) -> tuple[list[tuple[float, int]], int]:
        """Kill one scheduler after the other; return when how many rows were committed, and how many were killed."""
        connection = await asyncpg.connect(self._dsn)
        victims = itertools.cycle(self._schedulers)
        looks: list[tuple[float, int]] = []
        kills = 0
        began = time.monotonic()
        try:
            while (now := time.monotonic() - began) < self._load.seconds:
                looks.append((now, await connection.fetchval("SELECT sum(result_count)::bigint FROM jobs")))
                if self._load.kill_every_s and now >= (kills + 1) * self._load.kill_every_s:
                    kills += 1
                    _kill_and_begin(next(victims), meter)
                await asyncio.sleep(LOOK_S)
        finally:
            await connection.close()
        return looks, kills


def _kill_and_begin(service: Service, meter: CpuMeter) -> None:
    meter.remove(service.pid)
    service.kill()
    service.begin()
    meter.add("schedulers", service.pid)


class Feeder:
    """Creates a job whenever one has ended."""

    def __init__(self, client: Client, dataset: Dataset, jobs: int) -> None:
        self._client = client
        self._dataset = dataset
        self._jobs = jobs
        self._ended = threading.Event()
        self.job_ids: list[str] = []

    @contextmanager
    def feeding(self) -> Iterator[None]:
        """Keep so many jobs unfinished for as long as the block lasts."""
        callers = [threading.Thread(target=self._feed) for _ in range(self._jobs)]
        for caller in callers:
            caller.start()
        try:
            yield
        finally:
            self._ended.set()
            for caller in callers:
                caller.join()

    def _feed(self) -> None:
        while not self._ended.is_set():
            job = create_job(self._client, self._dataset)
            self.job_ids.append(job.job_id)
            self._client.wait(job)


def _lines(client: Client, job_id: str) -> list[int]:
    """Return which lines of the dataset a job's output file has; a line of another job's is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output.jsonl"
        client.download(job_id, path)
        with path.open(encoding="utf-8") as lines:
            ids = [json.loads(line)["id"] for line in lines]
    mine = f"batch_req_{job_id}_"
    return [int(name.removeprefix(mine)) if name.startswith(mine) else 0 for name in ids]


def _slowest(looks: list[tuple[float, int]]) -> float:
    rates = [
        (count - before_count) / (at - before)
        for (before, before_count), (at, count) in itertools.combinations(looks, 2)
        if WINDOW_S <= at - before < WINDOW_S + 2 * LOOK_S
    ]
    return min(rates, default=0.0)


def _longest_pause(looks: list[tuple[float, int]]) -> float:
    longest, since = 0.0, looks[0][0]
    for (_, before), (at, count) in itertools.pairwise(looks):
        if count > before:
            since = at
        longest = max(longest, at - since)
    return longest


@contextmanager
def _stage(load: ReplicaLoad) -> Iterator[_Stage]:
    folder = Path(tempfile.mkdtemp(prefix="lorax-batch-load-"))
    folder.chmod(0o711)  # root's PostgreSQL runs as another user
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        urls = [stack.enter_context(instant_server(None, load.delay_ms)) for _ in range(load.schedulers)]
        runner = stack.enter_context(asyncio.Runner())
        postgres = EmbeddedPostgres(folder / "postgres", settings=SETTINGS)
        dsn = runner.run(postgres.start())
        stack.callback(lambda: runner.run(postgres.stop()))
        assert postgres.postgres_pid is not None
        stage = _Stage(load, folder, dsn, postgres.postgres_pid, urls)
        stack.callback(stage.replicas.close, show_logs=False)
        yield stage


def show(report: ReplicaReport) -> None:
    """Print a table."""
    for name, value in asdict(report).items():
        if isinstance(value, dict):
            for part, seconds in value.items():
                print(f"{'CPU s a 1,000 rows, ' + part:<40}{seconds:>14.4f}")
        else:
            print(f"{name.replace('_', ' '):<40}{value:>14,.6g}")


def main() -> int:
    """Measure, print, write the report; return 1 when a row was lost or doubled."""
    defaults = ReplicaLoad()
    parser = argparse.ArgumentParser(prog="python -m tests.load.replicas", description=__doc__)
    parser.add_argument("--seconds", type=float, default=defaults.seconds)
    parser.add_argument("--schedulers", type=int, default=defaults.schedulers)
    parser.add_argument("--kill-every", type=float, default=defaults.kill_every_s, metavar="SECONDS")
    given = parser.parse_args()
    build()
    report = measure(ReplicaLoad(seconds=given.seconds, schedulers=given.schedulers, kill_every_s=given.kill_every))
    show(report)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    sound = report.succeeded == report.jobs and report.lost == report.doubled == 0
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
