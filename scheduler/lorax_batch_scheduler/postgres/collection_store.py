"""What a collection knows, in PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from lorax_batch_scheduler.ports.collection_store import CollectionPass, StoredObject, UnnamedObject
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresCollectionStore:
    """See `CollectionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def database_id(self) -> str:
        async with self._database.connection() as connection:
            return str(await connection.fetchval(SQL.database_id))

    async def claim_pass(self, holder: str, *, lease: timedelta, at_once: bool) -> CollectionPass | None:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.claim_collection, holder, lease, at_once)
        return None if record is None else CollectionPass(**dict(record))

    async def advance_pass(self, holder: str, *, cursor: str, lease: timedelta) -> bool:
        async with self._database.connection() as connection:
            return await connection.fetchval(SQL.advance_collection, holder, cursor, lease) is not None

    async def release_pass(self, holder: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.release_collection, holder)

    async def end_pass(self, holder: str, *, next_in: timedelta) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.end_collection, holder, next_in)

    async def unnamed(self, objects: Sequence[StoredObject]) -> list[UnnamedObject]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.unnamed_objects, *_columns(objects))
        return [msgspec.convert(dict(record), UnnamedObject) for record in records]

    async def note_unnamed(self, objects: Sequence[StoredObject], *, grace: timedelta) -> list[UnnamedObject]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.note_unnamed, *_columns(objects), grace)
        return [msgspec.convert(dict(record), UnnamedObject) for record in records]

    async def forget_unnamed(self, objects: Sequence[StoredObject]) -> None:
        keys, upload_ids, _ = _columns(objects)
        async with self._database.connection() as connection:
            await connection.execute(SQL.forget_unnamed, keys, upload_ids)


def _columns(objects: Sequence[StoredObject]) -> tuple[list[str], list[str], list[int]]:
    return (
        [each.key for each in objects],
        [each.upload_id for each in objects],
        [each.size_bytes for each in objects],
    )
