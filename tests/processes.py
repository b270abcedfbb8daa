"""Services and simulated servers as processes of the test's own, which it may kill."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import grpc
from lorax_batch_client import Client
from lorax_batch_scheduler.failpoints import LOG_VARIABLE, VARIABLE
from lorax_batch_scheduler.postgres.embedded import USER
from lorax_batch_scheduler.postgres.leftover import RunningLock

from tests.invariants.database import check_database
from tests.warm_process import AnyProcess, start_process

START_S = 60.0
_ASK_OFTEN = [(f"grpc.{name}_reconnect_backoff_ms", 50) for name in ("initial", "min", "max")]
"""gRPC would ask once a second and less whether a service is there."""


class Simulator:
    """A simulated LoRAX server."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lorax_simulator", "--port", "0", "--exit-with-parent", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, path: str, body: object = None) -> Any:
        """Return what a control endpoint answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_simulator/{path}", data=data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")


class Service:
    """`lorax-batch serve` over a data directory that outlives it.

    Before it is stopped or closed alive, what it has in its database is checked.
    """

    def __init__(self, directory: Path, *servers: str, arguments: tuple[str, ...] = (), cold: bool = False) -> None:
        """Cold: a program of its own from its first instruction, not forked from one that has the libraries."""
        self.directory = directory
        self.log = directory / "service.log"
        self._fired_log = directory / "failpoints.log"
        # The path of a Unix socket may have only about 100 characters.
        self._sockets = tempfile.TemporaryDirectory(prefix="lorax-batch-")
        self.target = f"unix:{self._sockets.name}/service.sock"
        self._arguments = [argument for server in servers for argument in ("--server", server)] + list(arguments)
        self.environment: dict[str, str] = {}
        """Variables of its next life."""
        self._cold = cold
        self._process: AnyProcess | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing behind."""
        try:
            if self.alive:
                self.check_database()
        finally:
            if self.alive:
                self.kill()
                self.wait_postgres_ended()
            self._sockets.cleanup()

    def check_database(self) -> None:
        """Fail when an invariant of its database is broken; it may be at work meanwhile."""
        # A thread, because the test may have an event loop of its own.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, check_database(self.dsn)).result()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, failpoints: str = "") -> None:
        """Start it with these failpoints armed, and return when it answers."""
        self.begin(failpoints)
        self.wait_ready()

    def begin(self, failpoints: str = "") -> None:
        """Start it with these failpoints armed: it may die before it ever answers."""
        arguments = ["serve", "--listen", self.target, "--data-dir", str(self.directory / "data"), *self._arguments]
        environment = {**os.environ, **self.environment, VARIABLE: failpoints, LOG_VARIABLE: str(self._fired_log)}
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = start_process(arguments, environment=environment, log=self.log, cold=self._cold)

    def wait_ready(self) -> None:
        """Return when it answers."""
        with grpc.insecure_channel(self.target, _ASK_OFTEN) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=START_S)
            except grpc.FutureTimeoutError:
                raise AssertionError(f"the service did not start:\n{self.log.read_text()[-4000:]}") from None

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        self._process = None

    def end(self) -> None:
        """Kill it if it is there: what the next test starts finds only its data."""
        if self._process is not None:
            self.kill()

    def fired(self) -> list[str]:
        """Return the names of the failpoints that have fired, over all lives, in their order."""
        if not self._fired_log.exists():
            return []
        return [line.split()[1] for line in self._fired_log.read_text(encoding="utf-8").splitlines()]

    def wait_logged(self, event: str, timeout_s: float = 30.0) -> None:
        """Return when it has logged an event in this life."""
        deadline = time.monotonic() + timeout_s
        while event not in (said := self.log.read_text(encoding="utf-8")[self._log_start :]):
            assert time.monotonic() < deadline, f"it did not log {event}:\n{said[-4000:]}"
            time.sleep(0.02)

    def wait_killed(self, timeout_s: float = 30.0) -> None:
        """Return when a failpoint has killed it."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        assert code == -signal.SIGKILL, f"it ended with {code}:\n{self.log.read_text()[-4000:]}"
        self._process = None

    def terminate(self) -> None:
        """Ask it to end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_ended(self, timeout_s: float = 60.0) -> int:
        """Return its exit code when it has ended."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.check_database()
        self.terminate()
        return self.wait_ended()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yield a client of it."""
        with Client(self.target) as client:
            yield client

    def postgres_pid(self) -> int:
        """Return the pid of its PostgreSQL."""
        return int(self._postmaster_lines()[0])

    def wait_postgres_ended(self) -> None:
        """Return when the guard of a killed service has ended its PostgreSQL, which writes in its folder until then."""
        lock = RunningLock(self.directory / "data/postgres/running.lock")
        if lock.path.exists():
            with ThreadPoolExecutor(1) as thread:
                os.close(thread.submit(asyncio.run, lock.acquire(timeout_s=30.0)).result())

    @property
    def dsn(self) -> str:
        """Where its database is: the one it was given, else its own, which must run."""
        if "--database-url" in self._arguments:
            return self._arguments[self._arguments.index("--database-url") + 1]
        _, _, _, port, socket_directory, *_ = self._postmaster_lines()
        return f"postgresql://{USER}@/postgres?host={quote(socket_directory, safe='')}&port={port}"

    def _postmaster_lines(self) -> list[str]:
        return (self.directory / "data/postgres/cluster/data/postmaster.pid").read_text().splitlines()


def write_rows(path: Path, count: int, *, max_tokens: int = 20, adapters: tuple[str, ...] = ("", "org/a")) -> set[str]:
    """Write a dataset and return its ids."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            body = {
                "model": adapters[number % len(adapters)],
                "messages": [{"role": "user", "content": f"m#{number:010d} say something"}],
                "max_tokens": max_tokens,
            }
            row = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(row) + "\n")
    return {f"row-{number}" for number in range(count)}


def read_ids(*paths: Path) -> list[str]:
    """Return the custom ids of result files, in their order."""
    return [json.loads(line)["custom_id"] for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
