"""A process that owns an embedded PostgreSQL, and what tests ask of both."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from lorax_batch_scheduler.postgres.binaries import OLDEST_MAJOR, PostgresBinaries, find_binaries
from lorax_batch_scheduler.postgres.embedded import BATCH_SETTINGS, EmbeddedPostgres

OWNER = Path(__file__).with_name("embedded_owner.py")
PYTHONPATH = os.pathsep.join(place for place in sys.path if "packages" in place or place.endswith("scheduler"))
PATIENCE_S = 20
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


def server_in(state: Path, **settings: str) -> EmbeddedPostgres:
    return EmbeddedPostgres(state, settings={**BATCH_SETTINGS, "shared_buffers": "32MB", **settings})


async def start_and_stop(state: Path) -> None:
    async with server_in(state):
        pass


async def run_sql(dsn: str, query: str) -> Any:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def pids_in(state: Path) -> list[int]:
    """Return the live processes of the PostgreSQL in a state directory, by their working directory."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(state):
                found.append(int(process.name))
        except OSError:
            continue
    return found


async def all_ended(state: Path) -> bool:
    return await comes_true(lambda: not pids_in(state))


async def comes_true(condition: Callable[[], bool]) -> bool:
    for _ in range(PATIENCE_S * 100):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


def other_binaries() -> PostgresBinaries | None:
    """Return a PostgreSQL of another version than the preferred one."""
    preferred = find_binaries(environ={})
    for major in range(OLDEST_MAJOR, preferred.major):
        found = find_binaries(major=major, environ={})
        if found.major == major:
            return found
    return None


def python_for(user: int) -> str | None:
    """Return a Python that a user can run this project with: ours may lie below a closed home directory."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            subprocess.run(
                [python, "-c", "import asyncpg, lorax_batch_scheduler"],
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
                user=user,
                cwd="/",
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


class Owner:
    """The owner as a process of its own."""

    def __init__(self, state: Path, *, user: int | None = None, python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, OWNER, state],
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
        )
        self.said: dict[str, Any] = {}

    async def ready(self) -> "Owner":
        assert self.process.stdout
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), PATIENCE_S)
        self.said = json.loads(line)
        return self

    async def end(self) -> int:
        await asyncio.to_thread(self.process.communicate, b"", PATIENCE_S)
        return self.process.returncode

    async def kill(self, *others: str) -> None:
        """Kill the owner, and what it named, all at once."""
        for name in others:
            os.kill(self.said[name], signal.SIGKILL)
        self.process.kill()
        await asyncio.to_thread(self.process.communicate, None, PATIENCE_S)
