"""What has expired, in PostgreSQL."""

from datetime import timedelta
from typing import Any

import msgspec

from lorax_batch_scheduler.ports.retention_store import FinishedResults, JobRemains, WebhookBacklog
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.deletion import delete_dataset
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.retention.file_ranges import FileRange, RangeWriter, SegmentPlace

_READ_AT_ONCE = 5_000
_RANGE_COLUMNS = FileRange.__struct_fields__


class PostgresRetentionStore:
    """See `RetentionStore` and `RemainsStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_turn(self, scheduler_id: str, turn: timedelta) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(SQL.take_retention_turn, scheduler_id, turn))

    async def end_turn(self, scheduler_id: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.end_retention_turn, scheduler_id)

    # --- results that are in files ---

    async def jobs_to_compact(self, kept: timedelta, *, limit: int) -> list[FinishedResults]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.jobs_to_compact, kept, limit)
        return [msgspec.convert(dict(record), FinishedResults) for record in records]

    async def write_ranges(self, job: FinishedResults) -> bool:
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL.lock_results, job.job_id) != "SEGMENTS":
                return True  # written already, or the job is deleted
            writer = await _read_places(connection, job.job_id)
            sizes = [(file.row_count, file.byte_count) for file in (job.output_file, job.error_file)]
            if sizes != [writer.sizes(error=False), writer.sizes(error=True)]:
                return False
            await connection.copy_records_to_table(
                "file_ranges",
                columns=("job_id", *_RANGE_COLUMNS),
                records=((job.job_id, *msgspec.structs.astuple(each)) for each in writer.ranges),
            )
            await connection.execute(SQL.forget_job_outputs, job.job_id)
            await connection.execute(SQL.store_results_place, job.job_id, "BOTH")
        return True

    async def keep_segments(self, job_id: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.store_results_place, job_id, "KEPT")

    async def drop_segments(self, job_id: str, *, limit: int) -> int:
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL.lock_results, job_id) != "BOTH":
                return 0
            dropped: int = await connection.fetchval(SQL.drop_segments, job_id, limit)
            if dropped < limit:
                await connection.execute(SQL.store_results_place, job_id, "FILES")
        return dropped

    # --- what has expired ---

    async def expired_jobs(self, kept: timedelta, *, limit: int) -> list[str]:
        return await self._ids(SQL.expired_jobs, kept, limit)

    async def expired_datasets(self, kept: timedelta, *, limit: int) -> list[str]:
        return await self._ids(SQL.expired_datasets, kept, None, limit)

    async def expire_dataset(self, dataset_id: str, kept: timedelta) -> bool:
        async with self._database.transaction() as connection:
            await connection.fetchrow(SQL.lock_dataset, dataset_id)
            # Asked behind the lock: no job of it can be created any more.
            if not await connection.fetch(SQL.expired_datasets, kept, dataset_id, 1):
                return False
            await delete_dataset(connection, dataset_id)
        return True

    async def webhook_backlogs(self) -> list[WebhookBacklog]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.webhook_backlogs)
        return [WebhookBacklog(**dict(record)) for record in records]

    async def disable_webhook(self, backlog: WebhookBacklog, reason: str) -> bool:
        async with self._database.connection() as connection:
            disabled = await connection.fetchval(SQL.disable_late_webhook, backlog.webhook_id, backlog.sequence, reason)
        return disabled is not None

    async def expire_events(self, kept: timedelta, *, needed_from: int | None = None, limit: int) -> int:
        async with self._database.connection() as connection:
            expired: int = await connection.fetchval(SQL.expire_events, kept, limit, needed_from)
        return expired

    # --- what deleted jobs have left behind ---

    async def due_remains(self, *, limit: int) -> list[JobRemains]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.due_remains, limit)
        return [JobRemains(**dict(record)) for record in records]

    async def remains_of(self, job_id: str) -> JobRemains | None:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.remains_of, job_id)
        return JobRemains(**dict(record)) if record is not None else None

    async def sweep_rows(self, job_id: str, *, limit: int) -> int:
        async with self._database.connection() as connection:
            swept: int = await connection.fetchval(SQL.sweep_job, job_id, limit)
        return swept

    async def sweep_events(self, job_id: str, *, limit: int) -> int:
        async with self._database.connection() as connection:
            swept: int = await connection.fetchval(SQL.sweep_events, job_id, limit)
        return swept

    async def put_off_remains(self, job_id: str, *, events_in: timedelta) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.put_off_remains, job_id, events_in)

    async def forget_remains(self, job_id: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.forget_remains, job_id)

    async def _ids(self, statement: str, *arguments: Any) -> list[str]:  # noqa: ANN401 - as the statement takes them
        async with self._database.connection() as connection:
            return [record[0] for record in await connection.fetch(statement, *arguments)]


async def _read_places(connection: Connection, job_id: str) -> RangeWriter:
    """Read the places a few thousand at a time: a slow job may have millions."""
    writer = RangeWriter()
    cursor = await connection.cursor(SQL.segment_places, job_id)
    while records := await cursor.fetch(_READ_AT_ONCE):
        writer.add(SegmentPlace(**dict(record)) for record in records)
    return writer
