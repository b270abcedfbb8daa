"""Processes that are forked from the nursery: `subprocess.Popen`, as far as tests of a service need it."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from queue import SimpleQueue

from lorax_batch_scheduler.failpoints import VARIABLE

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    *(
        "aiohttp",
        "asyncpg",
        "backports.zstd",
        "cryptography.x509",
        "google.protobuf.json_format",
        "google.rpc.status_pb2",
    ),
    *("grpc.aio", "grpc_health.v1.health", "grpc_reflection.v1alpha.reflection", "httptools", "lorax", "msgspec"),
    *("prometheus_client", "pydantic_settings", "structlog", "typer", "uvloop"),
)
OURS = ("lorax_batch_server.cli.application", "lorax_batch_server.app")
NEEDS_EXEC = ("LD_", "MALLOC_", "PYTHON")
"""Variables that count when a program is begun, and never again."""
_AT_FIRST = {**os.environ}


def start_process(
    arguments: Sequence[str], *, environment: Mapping[str, str], log: Path, cold: bool = False
) -> "AnyProcess":
    """Start `lorax-batch ARGUMENTS`, which appends all that it says to a log: quickly, unless it must begin cold."""
    ours = {name: value for name, value in environment.items() if name.startswith(NEEDS_EXEC)}
    if not cold and sys.platform == "linux" and all(_AT_FIRST.get(name) == value for name, value in ours.items()):
        return WarmProcess.start(arguments, environment=environment, log=log)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "lorax_batch_server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )


class WarmProcess:
    """`lorax-batch ARGUMENTS` in a child of the nursery, which appends all that it says to a log."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    @classmethod
    def start(cls, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path) -> "WarmProcess":
        """Start one, in this process's directory."""
        # Failpoints are armed while the modules are imported in which they stand.
        modules = LIBRARIES if environment.get(VARIABLE) else (*LIBRARIES, *OURS)
        return _Nursery.with_modules(modules).start(arguments, environment, log)

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended. Raises `subprocess.TimeoutExpired`."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("lorax-batch", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Signal it, if it runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def ended(self, code: int) -> None:
        """It has ended."""
        self.returncode = code
        self._ended.set()


class _Nursery:
    def __init__(self, modules: Sequence[str]) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                # Read by gRPC when it is imported, as `lorax-batch` sets it.
                env={**os.environ, VARIABLE: "", "GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"},
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )
        self._lock = threading.Lock()
        self._born: SimpleQueue[WarmProcess] = SimpleQueue()
        self._children: dict[int, WarmProcess] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        atexit.register(self._end)

    @staticmethod
    @cache
    def with_modules(modules: tuple[str, ...]) -> "_Nursery":
        return _Nursery(modules)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> WarmProcess:
        asked = {
            "arguments": [*arguments],
            "environment": {**environment},
            "log": str(log),
            "directory": str(Path.cwd()),
        }
        with self._lock:
            self._channel.sendall(json.dumps(asked).encode() + b"\n")
            return self._born.get(timeout=60)

    def _read(self) -> None:
        with self._channel.makefile("rb") as lines:
            for line in lines:
                told = json.loads(line)
                if "code" in told:
                    self._children.pop(told["pid"]).ended(told["code"])
                else:
                    self._children[told["pid"]] = WarmProcess(told["pid"])
                    self._born.put(self._children[told["pid"]])

    def _end(self) -> None:
        self._channel.shutdown(socket.SHUT_RDWR)
        self._process.wait(30)
        self._reader.join()
        self._channel.close()


AnyProcess = WarmProcess | subprocess.Popen[bytes]
