"""Processes of all roles on one PostgreSQL and one object store, and what callers see while they come and go."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from lorax_batch_client import Client, Job
from lorax_batch_client.result import ResultRow

from tests.end_to_end.job_story import JobStory
from tests.processes import Service

T = TypeVar("T")
LEASE_S = 2.0
LONG_LEASE_S = 300.0
"""Nobody waits for its end: what goes on before was handed back."""


class Replicas:
    """Starts processes; at the end none is left, and pytest shows their logs when the test failed."""

    def __init__(self, folder: Path, database_url: str, object_store: str = "", *, cold: bool = False) -> None:
        """Cold: as `Service` has it."""
        self.objects = folder / "objects"
        self._object_store = object_store or str(self.objects)
        self._folder = folder
        self._database_url = database_url
        self._cold = cold
        self._services: list[Service] = []

    def make(self, role: str, *servers: str, **settings: object) -> Service:
        """Return a process that is not started yet; a setting of None is left at its default."""
        directory = self._folder / f"{role}-{len(self._services)}"
        directory.mkdir()
        settings = {"lease_s": LEASE_S, **settings}
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if value is not None]
        (directory / "settings.toml").write_text("\n".join(lines), encoding="utf-8")
        shared = ("--database-url", self._database_url, "--object-store", self._object_store)
        config = ("--role", role, "--config", str(directory / "settings.toml"))
        service = Service(directory, *servers, arguments=(*config, *shared), cold=self._cold)
        self._services.append(service)
        return service

    def start(self, role: str, *servers: str, failpoints: str = "", **settings: object) -> Service:
        """Start a process, and return when it answers."""
        service = self.make(role, *servers, **settings)
        service.start(failpoints)
        return service

    def prepare(self, role: str, *servers: str, **settings: object) -> Service:
        """Start a process that waits right before it connects to PostgreSQL, for `let_go`: then it is there at once."""
        service = self.make(role, *servers, **settings)
        service.begin(f"start.before_database=hold:{service.directory / 'go'}")
        return service

    def let_go(self, service: Service) -> None:
        """Let a prepared process go on, and return when it answers."""
        (service.directory / "go").touch()
        service.wait_ready()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return what all processes have logged of one event."""
        return [line for service in self._services for line in log_lines(service) if line.get("event") == event]

    def close(self, *, show_logs: bool = True) -> None:
        """Leave no process behind."""
        with ExitStack() as stack:
            for service in self._services:
                stack.callback(service.close)
        for service in self._services if show_logs else ():
            print(service.directory.name, service.log.read_text()[-5000:] if service.log.exists() else "never began")


@pytest.fixture
def replicas(database: str, tmp_path: Path) -> Iterator[Replicas]:
    """Yield what starts processes on a database of the test's own."""
    replicas = Replicas(tmp_path, database)
    yield replicas
    replicas.close()


def log_lines(service: Service) -> list[dict[str, Any]]:
    """Return the log of a process; what is not JSON (a failpoint's last word, say) is left out."""
    if not service.log.exists():
        return []
    return [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def client_of(*services: Service) -> Iterator[Client]:
    """Yield a client that goes on at the next process when one can't be reached."""
    with Client(",".join(service.target for service in services)) as client:
        yield client


@contextmanager
def at_the_same_time() -> Iterator[Callable[..., Future[Any]]]:
    """Yield what runs a function in a thread; at the end all have returned."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def follow_results(client: Client, job_id: str) -> list[ResultRow]:
    """Read a job's rows while it runs; check that each offset came once and in order."""
    rows = list(client.results(job_id, follow=True))
    assert [row.offset for row in rows] == list(range(len(rows)))
    return rows


def watch_to_the_end(client: Client, job_id: str) -> Job:
    """Watch a job, every event checked; return it as it ended."""
    return JobStory(client, job_id).finish()
