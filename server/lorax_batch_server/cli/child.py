"""A child process that ends when its parent does."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.reporting_group import CommandError

STOP_SECONDS: Final = 15.0
TAIL_LINES: Final = 20


class ChildProcess:
    """Runs `python -m MODULE ARGUMENTS`; what it says goes to a log file. Stopped at the end of `with`.

    It has a session of its own, so that Ctrl-C reaches only the parent, which stops its children in order.
    """

    def __init__(
        self,
        module: str,
        arguments: list[str],
        log: Path,
        *,
        has_output: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = module
        self._log = log
        command = [sys.executable, "-m", "lorax_batch_server.cli.tethered", str(os.getpid())]
        with log.open("wb") as log_file:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if has_output else log_file,
                stderr=log_file,
                start_new_session=True,
                env=environment,
            )

    def __repr__(self) -> str:
        return f"ChildProcess({self._name!r}, pid={self._process.pid})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise with the end of its log when it has ended."""
        code = self._process.poll()
        if code is None:
            return
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        exit_code = ExitCode.BAD_INPUT if code == ExitCode.BAD_INPUT else ExitCode.FAILED
        raise CommandError(f"{self._name} ended with status {code}:\n{tail}", exit_code)

    def sleep(self, seconds: float) -> None:
        """Wait that long for it to answer again; raise with the end of its log when it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.check()

    def read_line(self, timeout_seconds: float) -> str:
        """Return the line that it prints once it is ready; it must not print more."""
        output, read = self._process.stdout, b""
        if output is None:
            raise RuntimeError("the child was started without `has_output`")
        deadline = time.monotonic() + timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    data = os.read(output.fileno(), 4096)
                    read += data
                    if read.endswith(b"\n"):
                        return read.decode().strip()
                    if not data:
                        self._process.wait(left)
                        self.check()
        raise CommandError(f"{self._name} was not ready within {timeout_seconds:.0f} s", ExitCode.FAILED)

    def stop(self) -> None:
        """End it, kindly first."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that children are stopped in order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
