"""The whole service under load: `lorax-batch serve` with PostgreSQL, measured from outside as its callers see it."""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import grpc
import uvloop
from lorax_batch_client import Client
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres

from bench.instant import pin
from bench.peers.measure import prompt

START_S = 60
POLL_S = 0.02
BASE_MODEL = "mistral-7b-instruct-v0-2"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMeasurement:
    """One job from its creation to its last result."""

    rows: int
    wall_s: float
    cpu_s: float
    """Of the service's own process while rows ran."""
    rss_mib: float
    """The largest seen while rows ran."""
    get_job_p99_ms: float
    wal_bytes_per_row: float
    commits_per_second: float
    finalise_us_per_row: float
    download_us_per_row: float
    """CPU of the service."""


class BenchService:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], client: Client, dsn: str) -> None:
        self._process = process
        self._client = client
        self._dsn = dsn

    def measure(self, rows: Path, count: int) -> ServiceMeasurement:
        """Run a dataset and measure the service meanwhile."""
        client = self._client
        dataset = client.wait_for_dataset(client.upload_dataset(rows).dataset_id)
        wal, cpu, began = self._wal_bytes(), self._cpu_s(), time.perf_counter()
        job = client.create_job(dataset.dataset_id, base_model=BASE_MODEL)
        waits: list[float] = []
        rss_mib = 0.0
        while job.counts.ended < count:
            asked = time.perf_counter()
            job = client.get_job(job.job_id)
            waits.append(time.perf_counter() - asked)
            rss_mib = max(rss_mib, self._rss_mib())
            time.sleep(POLL_S)
        wall_s, ran_cpu = time.perf_counter() - began, self._cpu_s()
        wal_bytes = self._wal_bytes() - wal
        client.wait(job.job_id)
        ended_cpu = self._cpu_s()
        with tempfile.TemporaryDirectory() as folder:
            client.download(job.job_id, Path(folder) / "results.jsonl")
        downloaded_cpu = self._cpu_s()
        return ServiceMeasurement(
            rows=count,
            wall_s=wall_s,
            cpu_s=ran_cpu - cpu,
            rss_mib=rss_mib,
            get_job_p99_ms=statistics.quantiles(waits, n=100)[98] * 1e3 if len(waits) > 1 else waits[0] * 1e3,
            wal_bytes_per_row=wal_bytes / count,
            commits_per_second=self._commits(job.job_id) / wall_s,
            finalise_us_per_row=(ended_cpu - ran_cpu) / count * 1e6,
            download_us_per_row=(downloaded_cpu - ended_cpu) / count * 1e6,
        )

    def _cpu_s(self) -> float:
        # Behind the command's name, which may hold anything.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _rss_mib(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def _wal_bytes(self) -> int:
        return int(self._ask("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))

    def _commits(self, job_id: str) -> int:
        """Return how many transactions wrote results."""
        return int(self._ask("SELECT count(DISTINCT xmin::text) FROM segments WHERE job_id = $1", job_id))

    def _ask(self, query: str, *arguments: object) -> int:
        async def ask() -> int:
            connection = await asyncpg.connect(self._dsn)
            try:
                return int(await connection.fetchval(query, *arguments))
            finally:
                await connection.close()

        return uvloop.run(ask())


@contextmanager
def bench_service(urls: list[str], in_flight: int, core: int | None) -> Iterator[BenchService]:
    """Run a service with a PostgreSQL of its own on a core, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="lorax-batch-bench-"))
    folder.chmod(0o711)  # root's PostgreSQL runs as another user
    try:
        with _postgres(folder, core) as dsn:
            target = f"unix:{folder}/service.sock"
            command = [sys.executable, "-m", "lorax_batch_server", "serve", "--listen", target]
            command += ["--data-dir", str(folder / "data"), "--database-url", dsn]
            for url in urls:
                command += ["--server", f"{url},max-in-flight={in_flight}"]
            with (folder / "service.log").open("wb") as log:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                pin(process.pid, core)
                with grpc.insecure_channel(target) as channel:
                    grpc.channel_ready_future(channel).result(timeout=START_S)
                with Client(target) as client:
                    yield BenchService(process, client, dsn)
            finally:
                process.terminate()
                process.wait(timeout=60)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _postgres(folder: Path, core: int | None) -> Iterator[str]:
    """Run a PostgreSQL that the benchmark can ask for its figures."""
    server = EmbeddedPostgres(folder / "postgres")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        dsn = runner.run(server.start())
        try:
            if server.postgres_pid is not None:
                pin(server.postgres_pid, core)  # its backends inherit that
            yield dsn
        finally:
            runner.run(server.stop())


def write_dataset(path: Path, count: int) -> None:
    """Write rows of about 500 bytes."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(
                f'{{"custom_id":"row-{number}","method":"POST","url":"/v1/chat/completions","body":{{"model":"",'
                f'"messages":[{{"role":"user","content":"{prompt(number)}"}}],"max_tokens":64,"temperature":0.0}}}}\n'
            )
