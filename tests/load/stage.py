"""A service with its own PostgreSQL before instant servers: what all load tests run on."""

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lorax_batch_client import Client, Dataset, Job

from bench.instant import instant_server
from bench.service import BASE_MODEL, write_dataset
from tests.load.memory import MemoryPeak, memory_peak
from tests.processes import Service

CALL_TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running service and the URLs of its servers."""

    service: Service
    urls: list[str]
    folder: Path

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yield a client that a loaded service may let wait."""
        with Client(self.service.target, timeout=CALL_TIMEOUT) as client:
            yield client

    @contextmanager
    def memory(self) -> Iterator[MemoryPeak]:
        """Yield the largest memory that is seen during the block."""
        with memory_peak(self.service.pid, self.service.postgres_pid()) as peak:
            yield peak

    def dataset(self, client: Client, rows: int) -> Dataset:
        """Return a checked dataset of so many rows of 500 bytes, each with a number of its own."""
        path = self.folder / f"{rows}.jsonl"
        write_dataset(path, rows)
        dataset = client.wait_for_dataset(client.upload_dataset(path))
        path.unlink()
        return dataset

    def answered(self) -> int:
        """Return how many rows the servers have answered."""
        return sum(stats["requests"] for stats in server_stats(self.urls))

    def most_calls_of_a_row(self) -> int:
        """Return how often the row was sent that was sent most often, by the numbers of the rows."""
        return max(stats["most_runs_of_a_marker"] for stats in server_stats(self.urls))


def server_stats(urls: list[str]) -> list[dict[str, int]]:
    """Return what instant servers have counted."""
    stats = []
    for url in urls:
        with urllib.request.urlopen(f"{url}/stats", timeout=30) as answer:
            stats.append(json.load(answer))
    return stats


@contextmanager
def load_stage(*, servers: int = 1, in_flight: int = 256, delay_ms: int = 0) -> Iterator[Stage]:
    """Run a service before instant servers that answer each row after a delay."""
    # Root's PostgreSQL runs as another user, who must be able to pass through.
    folder = Path(tempfile.mkdtemp(prefix="lorax-batch-load-"))
    folder.chmod(0o711)
    try:
        with ExitStack() as stack:
            urls = [stack.enter_context(instant_server(None, delay_ms)) for _ in range(servers)]
            specs = [f"{url},max-in-flight={in_flight}" for url in urls]
            # Cold: memory and processor time are its own.
            service = stack.enter_context(Service(folder, *specs, cold=True))
            try:
                yield Stage(service=service, urls=urls, folder=folder)
            finally:
                code = service.stop()
            assert code == 0, service.log.read_text()[-4_000:]
    finally:
        shutil.rmtree(folder)


def create_job(client: Client, dataset: Dataset) -> Job:
    """Create a job of the model that the instant servers say they are."""
    return client.create_job(dataset, base_model=BASE_MODEL)
