"""Exports in PostgreSQL."""

from datetime import timedelta

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import BusyError, NotFoundError
from lorax_batch_scheduler.export import Export, ExportProgress, ExportState
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresExportStore:
    """See `ExportStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_export(
        self, export_id: str, *, job_id: str, destination: str, request_id: str | None, traceparent: str = ""
    ) -> Export:
        async with self._database.connection() as connection:
            try:
                record = await connection.fetchrow(
                    SQL.create_export, export_id, job_id, destination, request_id, traceparent
                )
            except asyncpg.ForeignKeyViolationError as error:
                raise NotFoundError("job", job_id) from error
            record = record or await connection.fetchrow(SQL.export_by_request, request_id)
        if record is None:
            raise BusyError(f"the export of request '{request_id}' was deleted just now; use another request_id")
        return _export(record)

    async def get_export(self, export_id: str) -> Export:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.get_export, export_id)
        if record is None:
            raise NotFoundError("export", export_id)
        return _export(record)

    async def exports_of(self, job_id: str, *, limit: int) -> list[Export]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.exports_of_job, job_id, limit)
        return [_export(record) for record in records]

    async def claim_export(self, scheduler_id: str) -> Export | None:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.claim_export, scheduler_id)
        return None if record is None else _export(record)

    async def save_export_progress(self, export: Export, scheduler_id: str, progress: ExportProgress) -> bool:
        async with self._database.connection() as connection:
            saved = await connection.fetchval(
                SQL.save_export_progress, export.export_id, scheduler_id, msgspec.to_builtins(progress)
            )
        return saved is not None

    async def put_off_export(self, export: Export, scheduler_id: str, *, reason: str, until: timedelta) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.put_off_export, export.export_id, scheduler_id, reason, until)

    async def end_export(self, export: Export, scheduler_id: str, state: ExportState, *, reason: str = "") -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.end_export, export.export_id, scheduler_id, state, reason)


def _export(record: asyncpg.Record) -> Export:
    return msgspec.convert(dict(record), Export)
