"""Removals in PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from lorax_batch_scheduler.ports.removal_store import Removal
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresRemovalStore:
    """See `RemovalStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due_removals(self, *, limit: int) -> list[Removal]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.due_removals, limit)
        return [msgspec.convert(dict(record), Removal) for record in records]

    async def removals_of(self, prefixes: Sequence[str]) -> list[Removal]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.removals_of, list(prefixes))
        return [msgspec.convert(dict(record), Removal) for record in records]

    async def removed(self, removal: Removal, *, again_in: timedelta | None) -> None:
        async with self._database.connection() as connection:
            if again_in is None:
                await connection.execute(SQL.forget_removal, removal.prefix, removal.runs)
            else:
                await connection.execute(SQL.put_off_removal, removal.prefix, removal.runs, again_in)


async def plan_removal(connection: Connection, prefix: str, *, keep: str = "") -> None:
    """Have all objects of a prefix deleted once this transaction is committed."""
    await connection.execute(SQL.plan_removal, prefix, keep)
