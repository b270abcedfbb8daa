"""The owner's end of the guard."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lorax_batch_scheduler.postgres.run_as import RunAs

_GUARD = Path(__file__).with_name("guard.py")
_END_TIMEOUT_S = 40.0
"""Longer than the guard's own patience with PostgreSQL, all steps together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSpec:
    """What the guard is told on its command line."""

    bin_dir: Path
    data: Path
    socket_dir: Path
    log: Path
    run_as: RunAs
    user: str
    settings: Mapping[str, str]

    def as_json(self, running_lock: int) -> str:
        paths = {name: str(getattr(self, name)) for name in ("bin_dir", "data", "socket_dir", "log")}
        values = {"run_as": self.run_as.as_json(), "user": self.user, "settings": dict(self.settings)}
        return json.dumps({**paths, **values, "running_lock": running_lock})


class GuardFailure(Exception):  # noqa: N818  # a message that the embedded server turns into an error of the tree
    """The guard ended before PostgreSQL was ready."""

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(text)
        self.stage = stage


class GuardProcess:
    """A running guard. It ends PostgreSQL, then itself, when this process closes its pipe or dies."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int, loop: asyncio.AbstractEventLoop) -> None:
        self.postgres_pid: int | None = None
        self._process = process
        self._lifeline: int | None = lifeline
        self._loop = loop
        self._first_line: asyncio.Future[str] = loop.create_future()
        self._ended = asyncio.Event()
        self._received = b""
        assert process.stdout is not None
        self._reports = process.stdout.fileno()
        os.set_blocking(self._reports, False)
        # Watching the pipe needs no thread and no child watcher, and works alike on asyncio's loop and uvloop's.
        loop.add_reader(self._reports, self._read)

    @classmethod
    def launch(cls, spec: GuardSpec, running_lock: int) -> "GuardProcess":
        """Start the guard, which PostgreSQL inherits the descriptor `running_lock` from."""
        read_end, write_end = os.pipe()  # both close-on-exec: no other child of ours keeps PostgreSQL alive
        try:
            # Some milliseconds. In a thread it would go on by itself if we were cancelled.
            process = _popen(spec.as_json(running_lock), read_end, running_lock)
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        return cls(process, write_end, asyncio.get_running_loop())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when PostgreSQL accepts connections; raise `GuardFailure` or `TimeoutError` when it won't."""
        async with asyncio.timeout(timeout_s):
            word, _, rest = (await asyncio.shield(self._first_line)).partition(" ")
        if word != "ready":
            stage, _, text = rest.partition(" ")
            raise GuardFailure(stage or "postgres", text or "it ended before it was ready")
        self.postgres_pid = int(rest)

    async def wait_exited(self) -> int:
        """Return the status that PostgreSQL ended with, or minus the signal that ended the guard."""
        await self._ended.wait()
        return await asyncio.to_thread(self._process.wait, _END_TIMEOUT_S)

    async def end(self) -> int:
        """Let PostgreSQL shut down and the guard end, and return its status; harmless when it has ended."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        status = await asyncio.to_thread(self._process.wait, _END_TIMEOUT_S)
        self._close_reports()
        return status

    def _read(self) -> None:
        try:
            data = os.read(self._reports, 4096)
        except BlockingIOError:
            return
        if not data:
            self._close_reports()
            return
        self._received += data
        if b"\n" in self._received and not self._first_line.done():
            self._first_line.set_result(self._received.split(b"\n")[0].decode(errors="replace"))

    def _close_reports(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.closed:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._reports)
        self._process.stdout.close()
        if not self._first_line.done():
            self._first_line.set_result("")
        self._ended.set()


def _popen(spec: str, lifeline: int, running_lock: int) -> subprocess.Popen[bytes]:
    # -I -S: nothing of the caller's environment or site-packages can change what the guard is.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_GUARD), spec],
        stdin=lifeline,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[running_lock],
        start_new_session=True,
        cwd="/",
    )
