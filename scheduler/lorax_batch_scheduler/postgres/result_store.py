"""Committed results, and how far their files are written, in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.job import Job, JobEvent, ResultFile
from lorax_batch_scheduler.ports.object_store import UploadedPart
from lorax_batch_scheduler.ports.result_store import OutputProgress, StoredSegment
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.job_move import move_job
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresResultStore:
    """See `ResultStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def segments(
        self, job_id: str, *, first_offset: int, error: bool | None, max_bytes: int
    ) -> list[StoredSegment]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.segments, job_id, first_offset, error, max_bytes)
        return [_segment(record) for record in records]

    async def segments_of_lines(
        self,
        job_id: str,
        *,
        first_line: int,
        last_line: int,
        error: bool | None,
        first_offset: int,
        max_bytes: int,
    ) -> list[StoredSegment]:
        async with self._database.connection() as connection:
            records = await connection.fetch(
                SQL.segments_of_lines, job_id, first_line, last_line, error, first_offset, max_bytes
            )
        return [_segment(record) for record in records]

    @asynccontextmanager
    async def finalising(self, job_id: str) -> AsyncIterator[bool]:
        async with self._database.connection() as connection:
            # Held by the session: PostgreSQL frees it by itself when this process or its connection dies.
            owned: bool = await connection.fetchval(SQL.try_finalising, job_id)
            try:
                yield owned
            finally:
                if owned and not connection.is_closed():
                    await connection.execute(SQL.end_finalising, job_id)

    async def every_row_settled(self, job_id: str) -> bool:
        async with self._database.connection() as connection:
            settled: bool = await connection.fetchval(SQL.every_row_settled, job_id)
        return settled

    async def output_progress(self, job_id: str, *, error: bool) -> OutputProgress | None:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.output_progress, job_id, error)
        if record is None:
            return None
        return OutputProgress(
            key=record["key"],
            upload_id=record["upload_id"],
            parts=msgspec.convert(record["parts"], list[UploadedPart]),
        )

    async def save_output_progress(self, job_id: str, *, error: bool, progress: OutputProgress) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                SQL.save_output_progress,
                job_id,
                error,
                progress.key,
                progress.upload_id,
                msgspec.to_builtins(progress.parts),
            )

    async def finish_job(self, job_id: str, output_file: ResultFile, error_file: ResultFile) -> Job:
        async with self._database.transaction() as connection:
            done = await connection.execute(
                SQL.store_files, job_id, msgspec.to_builtins(output_file), msgspec.to_builtins(error_file)
            )
            if done != "UPDATE 1":
                raise StateConflictError("job", job_id, "without a result for every row", "complete")
            return await move_job(connection, job_id, JobEvent.FINISH)


def _segment(record: asyncpg.Record) -> StoredSegment:
    return StoredSegment(**dict(record))
