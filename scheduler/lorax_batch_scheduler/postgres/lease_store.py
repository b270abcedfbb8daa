"""Leases and results in PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import RowError
from lorax_batch_scheduler.ports.lease import (
    ChunkResults,
    CommitReceipt,
    JobActivity,
    LeasedChunk,
    RowLengths,
    RowsLeft,
    SegmentToStore,
)
from lorax_batch_scheduler.postgres.bits import to_varbit
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.records import to_leased_chunk
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresLeaseStore:
    """See `LeaseStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register_scheduler(self, scheduler_id: str, lease: timedelta, *, exclusive: bool) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(SQL.register_scheduler, scheduler_id, lease)
            if exclusive:
                await connection.execute(SQL.remove_other_schedulers, scheduler_id)
            await self._free_chunks(connection)
            await connection.execute(SQL.free_orphaned_datasets)

    async def renew_scheduler(self, scheduler_id: str, lease: timedelta) -> bool:
        async with self._database.transaction() as connection:
            was_late = await connection.fetchval(SQL.renew_scheduler, scheduler_id, lease)
            await connection.execute(SQL.shorten_leases)
            # Whoever is late itself does not judge the others: PostgreSQL may have been away for all of them.
            if not was_late and await connection.execute(SQL.remove_dead_schedulers) != "DELETE 0":
                await self._free_chunks(connection)
            await connection.execute(SQL.free_orphaned_datasets)
        return was_late is not None

    async def unregister_scheduler(self, scheduler_id: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(SQL.unregister_scheduler, scheduler_id)
            await self._free_chunks(connection)
            await connection.execute(SQL.free_orphaned_datasets)

    async def _free_chunks(self, connection: Connection) -> None:
        freed = await connection.fetch(SQL.free_orphaned_chunks)
        for job_id in {record["job_id"] for record in freed}:
            await connection.execute(SQL.notify_job, job_id)

    async def rows_left(self, job_ids: Sequence[str]) -> list[RowsLeft]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.rows_left, list(job_ids))
        return [
            RowsLeft(
                job_id=record["job_id"],
                kind=ChunkKind(record["kind"]),
                model=record["model"],
                chunk_count=record["chunk_count"],
                row_count=record["row_count"],
                prompt_tokens=record["prompt_tokens"],
            )
            for record in records
        ]

    async def row_lengths(self, job_ids: Sequence[str]) -> list[RowLengths]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.row_lengths, list(job_ids))
        return [RowLengths(**record) for record in records]

    async def claim_chunks(
        self, scheduler_id: str, job_id: str, kind: ChunkKind, model: str, limit: int
    ) -> list[LeasedChunk]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.claim_chunks, scheduler_id, job_id, kind, model, limit)
        return [to_leased_chunk(record) for record in records]

    async def release_chunks(self, scheduler_id: str, chunks: Sequence[LeasedChunk]) -> None:
        if not chunks:
            return
        async with self._database.transaction() as connection:
            await connection.execute(
                SQL.release_chunks,
                scheduler_id,
                [chunk.job_id for chunk in chunks],
                [chunk.chunk_no for chunk in chunks],
                [chunk.epoch for chunk in chunks],
            )
            for job_id in {chunk.job_id for chunk in chunks}:
                await connection.execute(SQL.notify_job, job_id)

    async def release_forgotten(self, scheduler_id: str, known: Sequence[LeasedChunk]) -> None:
        jobs, numbers = [chunk.job_id for chunk in known], [chunk.chunk_no for chunk in known]
        async with self._database.connection() as connection:
            await connection.execute(SQL.release_forgotten, scheduler_id, jobs, numbers)

    async def fence_job(self, scheduler_id: str, job_id: str) -> list[LeasedChunk]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.fence_job, scheduler_id, job_id)
        return [to_leased_chunk(record) for record in records]

    async def commit_results(
        self, scheduler_id: str, results: Sequence[ChunkResults], activity: Sequence[JobActivity]
    ) -> CommitReceipt:
        arguments = [*_result_columns(results), *_segment_columns(results), *_activity_columns(activity)]
        job_ids = sorted({result.job_id for result in results})
        async with self._database.transaction() as connection:
            records = await connection.fetch(SQL.commit_results, scheduler_id, *arguments)
            for job_id in job_ids:
                errors = [error for result in results if result.job_id == job_id for error in result.errors]
                if errors:
                    await connection.execute(SQL.sample_errors, job_id, _sample(errors))
            complete = await connection.fetch(SQL.complete_jobs, job_ids) if job_ids else []
        return CommitReceipt(
            accepted={(record["job_id"], record["chunk_no"]) for record in records},
            complete_jobs=[record["job_id"] for record in complete],
        )

    async def clear_activity(self, scheduler_id: str, job_ids: Sequence[str]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.clear_activity, scheduler_id, list(job_ids))


def _result_columns(results: Sequence[ChunkResults]) -> list[list[Any]]:
    return [
        [r.job_id for r in results],
        [r.chunk_no for r in results],
        [r.epoch for r in results],
        [to_varbit(r.done, r.row_count) for r in results],
        [to_varbit(r.unsuccessful, r.row_count) for r in results],
        [r.succeeded for r in results],
        [r.failed for r in results],
        [r.cancelled for r in results],
        [r.expired for r in results],
        [r.invalid for r in results],
        [r.prompt_tokens for r in results],
        [r.completion_tokens for r in results],
    ]


def _segment_columns(results: Sequence[ChunkResults]) -> list[list[Any]]:
    pieces: list[tuple[ChunkResults, SegmentToStore]] = [(r, s) for r in results for s in r.segments]
    return [
        [r.job_id for r, _ in pieces],
        [r.chunk_no for r, _ in pieces],
        [s.error for _, s in pieces],
        [s.row_count for _, s in pieces],
        [s.first_line for _, s in pieces],
        [s.last_line for _, s in pieces],
        [s.byte_count for _, s in pieces],
        [s.blob for _, s in pieces],
    ]


def _activity_columns(activity: Sequence[JobActivity]) -> list[list[Any]]:
    return [
        [a.job_id for a in activity],
        [a.in_flight for a in activity],
        [a.retrying for a in activity],
        [a.rows_per_second for a in activity],
        [a.tokens_per_second for a in activity],
    ]


def _sample(errors: list[RowError]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(error) for error in errors[:20]]
