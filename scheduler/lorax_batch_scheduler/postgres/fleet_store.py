"""Servers of all schedulers in PostgreSQL."""

from collections.abc import Sequence

import msgspec

from lorax_batch_scheduler.fleet import ServerStatus
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresFleetStore:
    """See `FleetStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record_servers(self, scheduler_id: str, servers: Sequence[ServerStatus]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                SQL.record_servers, scheduler_id, [msgspec.to_builtins(server) for server in servers]
            )

    async def servers(self, *, but_of: str = "") -> list[ServerStatus]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.servers, but_of)
        return [msgspec.convert(record["status"], ServerStatus) for record in records]
