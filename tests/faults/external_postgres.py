"""A PostgreSQL that belongs to no service, for tests that kill it, fill it up or change its settings."""

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres

from tests.postgres_fixtures import TEST_SETTINGS


class ExternalPostgres:
    """A PostgreSQL that belongs to no service."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedPostgres(directory, settings={**TEST_SETTINGS, "max_connections": "32"})
        self._runner = asyncio.Runner()
        self.dsn = ""

    def start(self) -> None:
        self.dsn = self._runner.run(self._server.start())

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._server.postgres_pid is not None
        os.kill(self._server.postgres_pid, signal.SIGKILL)
        self._runner.run(self._server.wait_exited())

    def stop(self) -> None:
        self._runner.run(self._server.stop())
        self._runner.close()

    def run(self, *statements: str) -> None:
        self._runner.run(self._execute(statements))

    def value(self, query: str, *arguments: object) -> int:
        """Return one number."""
        return self._runner.run(self._value(query, arguments))

    async def _value(self, query: str, arguments: tuple[object, ...]) -> int:
        connection = await asyncpg.connect(self.dsn)
        try:
            return int(await connection.fetchval(query, *arguments))
        finally:
            await connection.close()

    @property
    def socket(self) -> str:
        return f"{parse_qs(urlsplit(self.dsn).query)['host'][0]}/.s.PGSQL.5432"

    async def _execute(self, statements: tuple[str, ...]) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def take_all_connections(self) -> list[asyncpg.Connection]:
        """Leave no connection for anybody but a superuser, and not for one either."""
        return self._runner.run(self._take_all())

    async def _take_all(self) -> list[asyncpg.Connection]:
        taken = []
        while True:
            try:
                taken.append(await asyncpg.connect(self.dsn))
            except asyncpg.TooManyConnectionsError:
                return taken

    def give_back(self, connections: list[asyncpg.Connection]) -> None:
        for connection in connections:
            connection.terminate()
        self._runner.run(asyncio.sleep(0))
