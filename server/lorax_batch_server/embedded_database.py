"""Keeps the embedded PostgreSQL running: started with the service, and again whenever it dies."""

import asyncio
from pathlib import Path
from typing import Final

import structlog
from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres

RESTART_INTERVAL_S: Final = 1.0

_log = structlog.get_logger(__name__)


class EmbeddedDatabase:
    """A private PostgreSQL with a supervisor."""

    def __init__(self, state_dir: Path) -> None:
        self._server = EmbeddedPostgres(state_dir)

    async def start(self) -> str:
        """Start it and return where it is. Raises `ConfigurationError` or `DatabaseError`."""
        dsn = await self._server.start()
        _log.info("postgres_started", pid=self._server.postgres_pid)
        return dsn

    async def supervise(self) -> None:
        """Start it again whenever it dies, until cancelled; the address stays the same."""
        while True:
            code = await self._server.wait_exited()
            _log.error("postgres_died", exit_code=code)
            while True:
                try:
                    await self.start()
                    break
                except (DatabaseError, ConfigurationError) as error:
                    _log.error("postgres_not_restarted", error=str(error))
                    await asyncio.sleep(RESTART_INTERVAL_S)

    async def stop(self) -> None:
        """Stop it cleanly."""
        await self._server.stop()
