"""`python -m bench.capacity`: what rows, jobs, processes take: memory, disk, connections, CPU: docs/capacity.md.

Takes two or three minutes. Bytes and connections are the same everywhere; CPU time and memory depend on the machine.
"""

import asyncio
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import grpc
from lorax_batch_client import Client, Dataset
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres

from bench.instant_server import words

ROWS: Final = 20_000
PROMPT_WORDS: Final = 80
ANSWER_WORDS: Final = 100
SMALL_JOBS: Final = 100
FEW, MANY = 64, 2_048
"""Rows in flight."""
SLOW_MS: Final = 400
BASE_MODEL: Final = "mistral-7b-instruct-v0-2"
START_S: Final = 60
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The figures of docs/capacity.md."""

    python: str
    cpus: int
    rows: int
    line_bytes: float
    """Of a row of the dataset, as uploaded."""
    result_bytes: float
    """Of its line of the output file."""
    zlib_ratio_of_results: float
    """How well they are compressed."""
    store_bytes_per_dataset_row: float
    store_bytes_per_result_row: float
    database_bytes_per_dataset_row: float
    database_bytes_per_result_row: float
    database_bytes_per_job: float
    """Of a job of one row, with its dataset and its events."""
    wal_bytes_per_row: float
    service_cpu_us_per_row: float
    database_cpu_us_per_row: float
    ingest_cpu_us_per_row: float
    """Of the service and of its child process, which checks the lines."""
    idle_mib: dict[str, float]
    """Resident memory of a process by its role."""
    connections: dict[str, int]
    """To PostgreSQL, of a process by its role, while it is idle."""
    busy_connections: int
    """The most that were seen of one process of role `all` while rows ran."""
    mib_at_rows_in_flight: dict[int, float]
    bytes_per_row_in_flight: float


class Site:
    """A PostgreSQL, an object store, and processes on them."""

    def __init__(self, folder: Path, dsn: str, postgres_pid: int) -> None:
        self.folder = folder
        self.dsn = dsn
        self.postgres_pid = postgres_pid
        self.objects = folder / "objects"

    @contextmanager
    def process(self, role: str, *servers: str) -> Iterator[tuple[int, str]]:
        """Run a process of a role; yields its pid and its target."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        target = f"unix:{place}/s.sock"
        command = [sys.executable, "-m", "lorax_batch_server", "serve", "--role", role, "--listen", target]
        command += ["--database-url", self.dsn, "--object-store", str(self.objects), "--data-dir", str(place / "data")]
        for server in servers:
            command += ["--server", server]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            with grpc.insecure_channel(target) as channel:
                grpc.channel_ready_future(channel).result(timeout=START_S)
            yield process.pid, target
        finally:
            process.terminate()
            process.wait(timeout=60)

    def ask(self, query: str) -> int:
        """Return one number of the database."""

        async def ask() -> int:
            connection = await asyncpg.connect(self.dsn)
            try:
                return int(await connection.fetchval(query))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def database_bytes(self) -> int:
        """Return its size with indexes, after a checkpoint."""
        return self.ask("SELECT pg_database_size(current_database())")

    def wal_bytes(self) -> int:
        """Return how much was ever written ahead."""
        return self.ask("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")

    def connections(self) -> int:
        """Return how many there are beside the one that asks."""
        return self.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def store_bytes(self) -> int:
        """Return the size of all objects."""
        return sum(file.stat().st_size for file in self.objects.rglob("*") if file.is_file())

    def database_cpu_s(self) -> float:
        """Return the CPU time of all its processes that live."""
        return sum(cpu_s(pid) for pid in [self.postgres_pid, *children(self.postgres_pid)])


def main() -> None:
    """Measure, and print one JSON object."""
    print(json.dumps(asdict(measure()), indent=2))


def measure() -> Capacity:
    """Return the figures."""
    with ExitStack() as stack:
        site = stack.enter_context(open_site())
        idle, connections = measure_roles(site)
        fast = stack.enter_context(answering(0))
        sizes = measure_rows(site, fast)
        per_job = measure_jobs(site, fast)
        slow = stack.enter_context(answering(SLOW_MS))
        resident = {in_flight: measure_memory(site, slow, in_flight) for in_flight in (FEW, MANY)}
    return Capacity(
        python=platform.python_version(),
        cpus=os.cpu_count() or 0,
        rows=ROWS,
        idle_mib=idle,
        connections=connections,
        database_bytes_per_job=per_job,
        mib_at_rows_in_flight=resident,
        bytes_per_row_in_flight=(resident[MANY] - resident[FEW]) * (1 << 20) / (MANY - FEW),
        **sizes,
    )


def measure_roles(site: Site) -> tuple[dict[str, float], dict[str, int]]:
    """Return the memory and the connections of an idle process of each role."""
    idle, connections = {}, {}
    for role in ("all", "api", "scheduler"):
        before = site.connections()
        with site.process(role) as (pid, _):
            time.sleep(1)  # what it does at its start is over
            idle[role], connections[role] = rss_mib(pid), site.connections() - before
        while site.connections() > before:
            time.sleep(0.05)
    return idle, connections


def measure_rows(site: Site, server: str) -> dict[str, Any]:
    """Run a job of many rows, and return what each of them has cost."""
    with site.process("all", f"{server},max-in-flight=256") as (pid, target), Client(target) as client:
        before = Snapshot.of(site, pid)
        path = site.folder / "rows.jsonl"
        write_rows(path, ROWS)
        dataset = client.wait_for_dataset(client.upload_dataset(path))
        ready = Snapshot.of(site, pid)
        job, busy = client.create_job(dataset, base_model=BASE_MODEL), 0
        while not job.is_terminal:
            job, busy = client.get_job(job.job_id), max(busy, site.connections())
            time.sleep(0.1)
        ended = Snapshot.of(site, pid)
        output = site.folder / "output.jsonl"
        client.download(job.job_id, output)
    result = output.read_bytes()
    return {
        "line_bytes": path.stat().st_size / ROWS,
        "result_bytes": len(result) / ROWS,
        "zlib_ratio_of_results": len(result) / len(zlib.compress(result, 6)),
        "store_bytes_per_dataset_row": (ready.store - before.store) / ROWS,
        "store_bytes_per_result_row": (ended.store - ready.store) / ROWS,
        "database_bytes_per_dataset_row": (ready.database - before.database) / ROWS,
        "database_bytes_per_result_row": (ended.database - ready.database) / ROWS,
        "wal_bytes_per_row": (ended.wal - before.wal) / ROWS,
        "ingest_cpu_us_per_row": (ready.cpu_s - before.cpu_s) / ROWS * 1e6,
        "service_cpu_us_per_row": (ended.cpu_s - ready.cpu_s) / ROWS * 1e6,
        "database_cpu_us_per_row": (ended.database_cpu_s - ready.database_cpu_s) / ROWS * 1e6,
        "busy_connections": busy,
    }


def measure_jobs(site: Site, server: str) -> float:
    """Return what a small job takes in the database, with a dataset of its own."""
    with site.process("all", server) as (_, target), Client(target) as client:
        before = site.database_bytes()
        for _ in range(SMALL_JOBS):
            run_rows(client, upload(client, site, 1))
        return (site.database_bytes() - before) / SMALL_JOBS


def measure_memory(site: Site, server: str, in_flight: int) -> float:
    """Return the largest resident memory while so many rows are in flight."""
    with site.process("all", f"{server},max-in-flight={in_flight}") as (pid, target), Client(target) as client:
        dataset = upload(client, site, 4 * in_flight)
        job, peak = client.create_job(dataset, base_model=BASE_MODEL), 0.0
        while not job.is_terminal:
            job, peak = client.get_job(job.job_id), max(peak, rss_mib(pid))
            time.sleep(0.02)
        return peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was used until a moment."""

    store: int
    database: int
    wal: int
    cpu_s: float
    database_cpu_s: float

    @classmethod
    def of(cls, site: Site, pid: int) -> "Snapshot":
        """Look at all of it, when what was given up has been deleted."""
        while site.ask("SELECT count(*) FROM removals WHERE runs = 0"):
            time.sleep(0.1)
        return cls(
            store=site.store_bytes(),
            database=site.database_bytes(),
            wal=site.wal_bytes(),
            cpu_s=cpu_s(pid),
            database_cpu_s=site.database_cpu_s(),
        )


@contextmanager
def open_site() -> Iterator[Site]:
    """Run a PostgreSQL for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="lorax-batch-capacity-"))
    folder.chmod(0o711)  # root's PostgreSQL runs as another user
    server = EmbeddedPostgres(folder / "postgres")
    try:
        with asyncio.Runner() as runner:
            dsn = runner.run(server.start())
            try:
                assert server.postgres_pid is not None
                yield Site(folder, dsn, server.postgres_pid)
            finally:
                runner.run(server.stop())
    finally:
        shutil.rmtree(folder)


@contextmanager
def answering(delay_ms: int) -> Iterator[str]:
    """Run a server that answers every row with words of its own; yields its URL."""
    command = [sys.executable, "-m", "bench.instant_server", "--words", str(ANSWER_WORDS), "--delay-ms", str(delay_ms)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def upload(client: Client, site: Site, count: int) -> Dataset:
    """Return a checked dataset."""
    path = site.folder / "some.jsonl"
    write_rows(path, count)
    return client.wait_for_dataset(client.upload_dataset(path))


def run_rows(client: Client, dataset: Dataset) -> None:
    """Run a job to its end."""
    client.wait(client.create_job(dataset, base_model=BASE_MODEL).job_id)


def write_rows(path: Path, count: int) -> None:
    """Write chat rows, each with words of its own."""
    chance = random.Random(2)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            message = {"role": "user", "content": words(PROMPT_WORDS, chance)}
            body = {"model": "", "messages": [message], "max_tokens": 200}
            row = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(row) + "\n")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and of its children that have ended; 0 when it is gone."""
    try:
        # Behind the command's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
