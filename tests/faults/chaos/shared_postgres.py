"""A PostgreSQL that belongs to no service: started again when it dies, killed and frozen on demand."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.postgres.embedded import USER, EmbeddedPostgres

from tests.postgres_fixtures import TEST_SETTINGS

SOCKET: Final = ".s.PGSQL.5432"
RETRY_S: Final = 0.2


class SharedPostgres:
    """Durable against kills of its processes; a power cut is not simulated."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedPostgres(directory, settings=TEST_SETTINGS)
        self._directory = directory

    async def start(self) -> None:
        """Start it for the first time."""
        await self._server.start()

    async def live(self) -> None:
        """Start it again whenever it dies, until cancelled."""
        while True:
            await self._server.wait_exited()
            while True:
                try:
                    await self._server.start()
                    break
                except DatabaseError:
                    await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """Stop it."""
        await self._server.stop()

    @property
    def socket(self) -> str:
        """Where it listens, for a proxy."""
        return f"unix:{self._directory / 'cluster' / SOCKET}"


def proxied_dsn(address: str) -> str:
    """Return the DSN of a PostgreSQL behind a proxy."""
    return f"postgresql://{USER}@{address}/postgres"


def postmaster_pid(state_dir: Path) -> int:
    """Return the pid of the PostgreSQL of that directory, 0 when there is none."""
    try:
        text = (state_dir / "cluster" / "data" / "postmaster.pid").read_text()
        pid = int(text.split()[0])
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError, IndexError):
        return 0
    return pid if name == "postgres" else 0


def postgres_pids(postmaster: int) -> list[int]:
    """Return the pids of a PostgreSQL: the postmaster and its children, each of which leads a group of its own."""
    try:
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    except OSError:
        return []
    return [postmaster, *map(int, children)]


def signal_all(pids: list[int], number: signal.Signals) -> int:
    """Send a signal to all that are still there; return how many."""
    reached = 0
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        reached += 1
    return reached
