"""Datasets in PostgreSQL."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from lorax_batch_scheduler.dataset import (
    ChunkEntry,
    Dataset,
    DatasetState,
    DatasetSummary,
    InvalidReport,
    NewDataset,
    UploadPart,
)
from lorax_batch_scheduler.errors import BusyError, NotFoundError, OffsetMismatchError, StateConflictError
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.object_names import dataset_prefix, uploads_prefix
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.deletion import delete_dataset
from lorax_batch_scheduler.postgres.job_move import add_job_chunks, move_job
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.page_token import decode_page_token, encode_page_token
from lorax_batch_scheduler.postgres.quotas import read_storage
from lorax_batch_scheduler.postgres.records import to_dataset
from lorax_batch_scheduler.postgres.removal_store import plan_removal
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.tenant import DEFAULT_TENANT, Storage, scoped_request_id

_CHUNK_COLUMNS = (
    "dataset_id", "chunk_no", "kind", "endpoint", "model", "adapter_source", "row_count", "prompt_tokens", "max_tokens",
    "first_line", "last_line", "pack", "pack_offset", "byte_count", "longest_prompt_tokens", "largest_max_tokens",
)  # fmt: skip


class PostgresDatasetStore:
    """See `DatasetStore`."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener

    async def create_dataset(self, new: NewDataset) -> Dataset:
        state = DatasetState.UPLOADING if new.source_path is None else DatasetState.VALIDATING
        request = scoped_request_id(new.tenant, new.request_id)
        async with self._database.transaction() as connection:
            record = await connection.fetchrow(
                SQL.create_dataset,
                new.dataset_id,
                new.name,
                state,
                new.on_invalid,
                new.source_path,
                request,
                new.tenant,
                new.traceparent,
            )
            if record is None:
                record = await connection.fetchrow(SQL.dataset_by_request, request)
            await connection.execute(SQL.notify_datasets, new.dataset_id)
        if record is None:
            raise BusyError(f"dataset of request '{new.request_id}' was deleted just now; use another request_id")
        return to_dataset(record)

    async def get_dataset(
        self, reference: str, *, names_of: str = DEFAULT_TENANT, ids_of: str | None = None
    ) -> Dataset:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.get_dataset, reference, names_of, ids_of)
        if record is None:
            raise NotFoundError("dataset", reference)
        return to_dataset(record)

    async def find_dataset_by_request(self, request_id: str, *, tenant: str = DEFAULT_TENANT) -> Dataset | None:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.dataset_by_request, scoped_request_id(tenant, request_id))
        return to_dataset(record) if record else None

    async def list_datasets(self, *, page_size: int, page_token: str, tenant: str | None = None) -> Page[Dataset]:
        before = decode_page_token(page_token)
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.list_datasets, before, page_size + 1, tenant)
        token = encode_page_token(records[page_size - 1]["dataset_no"]) if len(records) > page_size else ""
        return Page(items=[to_dataset(record) for record in records[:page_size]], next_token=token)

    async def storage(self, tenant: str) -> Storage:
        async with self._database.connection() as connection:
            return await read_storage(connection, tenant)

    async def begin_upload(self, dataset_id: str, *, offset: int) -> int:
        async with self._database.transaction() as connection:
            record = await _lock(connection, dataset_id)
            if record["state"] != DatasetState.UPLOADING:
                raise StateConflictError("dataset", dataset_id, record["state"], DatasetState.UPLOADING)
            if record["stored_bytes"] != offset:
                raise OffsetMismatchError(dataset_id, offset, record["stored_bytes"])
            epoch: int = await connection.fetchval(SQL.begin_upload, dataset_id)
        return epoch

    async def add_upload_part(self, dataset_id: str, epoch: int, part: UploadPart) -> None:
        async with self._database.transaction() as connection:
            done = await connection.execute(SQL.add_upload_bytes, dataset_id, epoch, part.first_byte, part.byte_count)
            if done != "UPDATE 1":
                raise _taken_over(dataset_id)
            await connection.execute(SQL.add_upload_part, dataset_id, part.first_byte, part.byte_count, part.key)

    async def finish_upload(self, dataset_id: str, epoch: int, *, sha256: str | None) -> Dataset:
        async with self._database.transaction() as connection:
            record = await connection.fetchrow(SQL.finish_upload, dataset_id, epoch, sha256)
            if record is None:
                raise _taken_over(dataset_id)
            await connection.execute(SQL.notify_datasets, dataset_id)
        return to_dataset(record)

    async def upload_parts(self, dataset_id: str) -> list[UploadPart]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.upload_parts, dataset_id)
        return [UploadPart(first_byte=r["first_byte"], byte_count=r["byte_count"], key=r["key"]) for r in records]

    async def claim_dataset(self, scheduler_id: str, excluded: Sequence[str]) -> Dataset | None:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.claim_dataset, scheduler_id, list(excluded))
        return to_dataset(record) if record else None

    async def release_datasets(self, scheduler_id: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.release_datasets, scheduler_id)

    async def finish_ingest(
        self,
        dataset_id: str,
        summary: DatasetSummary,
        chunks: Sequence[ChunkEntry],
        storage_prefix: str,
        *,
        scheduler_id: str,
    ) -> Dataset:
        async with self._database.transaction() as connection:
            record = await _store_ingest(
                connection, dataset_id, scheduler_id, DatasetState.READY, "", summary, storage_prefix
            )
            await connection.copy_records_to_table(
                "dataset_chunks", columns=_CHUNK_COLUMNS, records=((dataset_id, *_chunk_row(chunk)) for chunk in chunks)
            )
            for job_id in await _validating_jobs(connection, dataset_id):
                await add_job_chunks(connection, job_id, dataset_id)
                await move_job(connection, job_id, JobEvent.DATASET_READY)
        return to_dataset(record)

    async def fail_ingest(
        self,
        dataset_id: str,
        reason: str,
        report: InvalidReport,
        summary: DatasetSummary | None,
        *,
        scheduler_id: str,
    ) -> Dataset:
        async with self._database.transaction() as connection:
            record = await _store_ingest(
                connection, dataset_id, scheduler_id, DatasetState.FAILED, reason, summary or _nothing_known(report), ""
            )
            for job_id in await _validating_jobs(connection, dataset_id):
                await move_job(
                    connection, job_id, JobEvent.DATASET_FAILED, reason=f"dataset '{dataset_id}' failed: {reason}"
                )
        return to_dataset(record)

    async def delete_dataset(self, dataset_id: str) -> Dataset:
        async with self._database.transaction() as connection:
            record = await _lock(connection, dataset_id)
            users = [r["job_id"] for r in await connection.fetch(SQL.unfinished_jobs_of_dataset, dataset_id)]
            if users:
                raise StateConflictError(
                    "dataset", dataset_id, f"in use by {', '.join(users)}", "unused", "cancel the jobs or wait for them"
                )
            await delete_dataset(connection, dataset_id)
        return to_dataset(record)

    async def wait_for_datasets(self, timeout_s: float) -> None:
        changed = asyncio.Event()
        stop = self._listener.on_datasets(lambda _: changed.set())
        try:
            async with asyncio.timeout(timeout_s):
                await changed.wait()
        except TimeoutError:
            pass
        finally:
            stop()


async def _lock(connection: Connection, dataset_id: str) -> asyncpg.Record:
    record = await connection.fetchrow(SQL.lock_dataset, dataset_id)
    if record is None:
        raise NotFoundError("dataset", dataset_id)
    return record


async def _validating_jobs(connection: Connection, dataset_id: str) -> list[str]:
    return [record["job_id"] for record in await connection.fetch(SQL.validating_jobs, dataset_id)]


async def _store_ingest(
    connection: Connection,
    dataset_id: str,
    scheduler_id: str,
    state: DatasetState,
    reason: str,
    summary: DatasetSummary,
    prefix: str,
) -> asyncpg.Record:
    current = await _lock(connection, dataset_id)
    record = await connection.fetchrow(
        SQL.store_ingest, dataset_id, state, reason, summary.sha256, summary.row_count, summary.invalid.line_count,
        summary.prompt_tokens, msgspec.to_builtins(summary.models), summary.model_count,
        msgspec.to_builtins(summary.invalid), prefix, summary.byte_count or current["stored_bytes"], scheduler_id,
    )  # fmt: skip
    if record is None:
        claim = f"{current['state']}, claimed by {current['scheduler_id'] or 'nobody'}"
        raise StateConflictError("dataset", dataset_id, claim, f"{DatasetState.VALIDATING}, claimed by {scheduler_id}")
    await connection.execute(SQL.forget_upload_parts, dataset_id)
    await plan_removal(connection, uploads_prefix(dataset_id))
    await plan_removal(connection, dataset_prefix(dataset_id), keep=prefix)
    await connection.execute(SQL.notify_datasets, dataset_id)
    return record


def _chunk_row(chunk: ChunkEntry) -> tuple[Any, ...]:
    return msgspec.structs.astuple(chunk)


def _nothing_known(report: InvalidReport) -> DatasetSummary:
    return DatasetSummary(
        sha256="", byte_count=0, row_count=0, invalid=report, prompt_tokens=0, models=[], model_count=0
    )


def _taken_over(dataset_id: str) -> BusyError:
    return BusyError(f"another upload of dataset '{dataset_id}' has taken over; ask GetUploadStatus where to go on")
