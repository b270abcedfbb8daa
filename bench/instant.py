"""Starts the instant server: the C program where there is a compiler, else the same in Python on uvloop."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / "build"


def build() -> list[str]:
    """Return the command that starts an instant server, compiled if that is possible."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return [sys.executable, "-m", "bench.instant_server"]
    source, program = HERE / "instant_server.c", BUILD / "instant_server"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return [str(program)]


@contextmanager
def instant_server(core: int | None, delay_ms: int = 0) -> Iterator[str]:
    """Run an instant server on a core of its own for as long as the block lasts; yields its URL."""
    process = subprocess.Popen(
        [*build(), "--delay-ms", str(delay_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pin(process.pid, core)
        yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
    finally:
        process.stdin.close()  # it ends with its standard input, also when this process is killed
        process.wait(timeout=10)
        process.stdout.close()


def pin(pid: int, core: int | None) -> None:
    """Keep a process on one core, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})
