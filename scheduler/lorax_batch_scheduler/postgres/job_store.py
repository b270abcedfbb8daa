"""Jobs and their events in PostgreSQL."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from lorax_batch_scheduler.dataset import DatasetState
from lorax_batch_scheduler.errors import (
    BusyError,
    InvalidInputError,
    NotFoundError,
    SequenceTooOldError,
    StateConflictError,
)
from lorax_batch_scheduler.estimates.token_lengths import AdapterLeft
from lorax_batch_scheduler.job import Job, JobAdmission, JobEta, JobEvent, JobFilter, JobState, NewJob, StateChange
from lorax_batch_scheduler.job_secrets import JobSecrets
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.deletion import delete_job
from lorax_batch_scheduler.postgres.job_move import add_job_chunks, append_event, fetch_job, lock_job, move_job
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.page_token import decode_page_token, encode_page_token
from lorax_batch_scheduler.postgres.quotas import check_job, hold_quotas
from lorax_batch_scheduler.postgres.records import to_job
from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.tenant import DEFAULT_TENANT, scoped_request_id


class PostgresJobStore:
    """See `JobStore` and `EventStore`."""

    def __init__(self, database: Database, listener: Listener, secrets: PostgresSecretStore) -> None:
        self._database = database
        self._secrets = secrets
        self._listener = listener

    async def create_job(self, new: NewJob) -> Job:
        async with self._database.transaction() as connection:
            quotas = await hold_quotas(connection, new.tenant)
            dataset = await connection.fetchrow(SQL.lock_dataset, new.dataset_id)
            if dataset is None:
                raise NotFoundError("dataset", new.dataset_id)
            if dataset["state"] == DatasetState.FAILED:
                raise InvalidInputError("dataset", f"'{new.dataset_id}' failed validation: {dataset['reason']}")
            ready = dataset["state"] == DatasetState.READY
            state = JobState.QUEUED if ready else JobState.VALIDATING
            if not await _insert(connection, new, state, retry_of=None):
                return await _job_by_request(connection, new.tenant, new.request_id)
            await connection.execute(SQL.use_dataset, new.dataset_id)
            await self._secrets.add(connection, new.job_id, new.secrets)
            if ready:
                await add_job_chunks(connection, new.job_id, new.dataset_id)
            await check_job(connection, quotas, new.tenant, new.job_id)
            return await _created(connection, new.job_id, state)

    async def find_job_by_request(self, request_id: str, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        async with self._database.connection() as connection:
            job_id = await connection.fetchval(SQL.job_by_request, scoped_request_id(tenant, request_id))
            return await fetch_job(connection, job_id) if job_id else None

    async def get_job(self, job_id: str) -> Job:
        async with self._database.connection() as connection:
            return await fetch_job(connection, job_id)

    async def get_jobs(self, job_ids: Sequence[str]) -> list[Job]:
        async with self._database.connection() as connection:
            return [to_job(record) for record in await connection.fetch(SQL.job_details, list(job_ids))]

    async def list_jobs(self, where: JobFilter, *, page_size: int, page_token: str) -> Page[Job]:
        before = decode_page_token(page_token)
        async with self._database.connection() as connection:
            found = await connection.fetch(
                SQL.list_jobs,
                before,
                where.job_ids or None,
                [str(state) for state in where.states] or None,
                where.labels or None,
                where.dataset_id,
                where.base_model_id,
                page_size + 1,
                where.tenant,
            )
            ids = [record["job_id"] for record in found[:page_size]]
            jobs = {record["job_id"]: to_job(record) for record in await connection.fetch(SQL.job_details, ids)}
        token = encode_page_token(found[page_size - 1]["job_no"]) if len(found) > page_size else ""
        return Page(items=[jobs[job_id] for job_id in ids if job_id in jobs], next_token=token)

    async def move_job(self, job_id: str, event: JobEvent, *, reason: str = "") -> Job:
        async with self._database.transaction() as connection:
            return await move_job(connection, job_id, event, reason=reason)

    async def explain_jobs(self, reasons: dict[str, str]) -> None:
        if reasons:
            async with self._database.connection() as connection:
                await connection.execute(SQL.explain_jobs, list(reasons), list(map(REDACTOR.clean, reasons.values())))

    async def rows_unfinished(self, job_ids: Sequence[str]) -> dict[str, tuple[AdapterLeft, ...]]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.rows_unfinished, list(job_ids))
        found: defaultdict[str, list[AdapterLeft]] = defaultdict(list)
        for record in records:
            fields = dict(record)
            found[fields.pop("job_id")].append(AdapterLeft(**fields))
        return {job_id: tuple(left) for job_id, left in found.items()}

    async def admit_jobs(self, found: dict[str, JobAdmission]) -> None:
        if found:
            given = sorted(found.items())
            columns = zip(
                *((job, each.answer, each.reason, each.earliest_finish_time) for job, each in given), strict=True
            )
            async with self._database.connection() as connection:
                await connection.execute(SQL.admit_jobs, *map(list, columns))

    async def foretell_jobs(self, etas: dict[str, JobEta | None]) -> None:
        if etas:
            rows = [
                (job, each.expected, each.early, each.late) if each else (job, None, None, None)
                for job, each in sorted(etas.items())
            ]
            async with self._database.connection() as connection:
                await connection.execute(SQL.foretell_jobs, *map(list, zip(*rows, strict=True)))

    async def update_job(
        self,
        job_id: str,
        *,
        priority: int | None = None,
        deadline: datetime | None = None,
        clear_deadline: bool = False,
        labels: dict[str, str] | None = None,
    ) -> Job:
        async with self._database.transaction() as connection:
            current = JobState((await lock_job(connection, job_id))["state"])
            if current.terminal:
                raise StateConflictError("job", job_id, current, "unfinished")
            await connection.execute(SQL.update_job, job_id, priority, deadline, clear_deadline, labels)
            await connection.execute(SQL.notify_job, job_id)
            return await fetch_job(connection, job_id)

    async def retry_job(self, job_id: str, *, new_job_id: str, request_id: str | None, traceparent: str = "") -> Job:
        async with self._database.transaction() as connection:
            # Quotas are locked before datasets, and datasets before jobs, everywhere; what a job is of never changes.
            seen = await fetch_job(connection, job_id)
            quotas = await hold_quotas(connection, seen.tenant)
            dataset = await connection.fetchrow(SQL.lock_dataset, seen.dataset_id)
            current = JobState((await lock_job(connection, job_id))["state"])
            if not current.terminal:
                raise StateConflictError("job", job_id, current, "ended", "cancel it or wait for it")
            old = await fetch_job(connection, job_id)
            if dataset is None:
                raise StateConflictError("dataset", old.dataset_id, "deleted", DatasetState.READY)
            if dataset["state"] == DatasetState.FAILED:
                raise StateConflictError("dataset", old.dataset_id, dataset["state"], DatasetState.READY)
            ready = dataset["state"] == DatasetState.READY
            new = NewJob(
                job_id=new_job_id,
                tenant=old.tenant,
                dataset_id=old.dataset_id,
                server_config=old.server_config,
                base_model_id=old.base_model_id,
                base_model_aliases=old.base_model_aliases,
                priority=old.priority,
                labels=old.labels,
                request_id=request_id,
                error_threshold=old.error_threshold,
                default_max_tokens=old.default_max_tokens,
                price_micros_per_million=old.price_micros_per_million,
                traceparent=traceparent,
            )
            state = JobState.QUEUED if ready else JobState.VALIDATING
            if not await _insert(connection, new, state, retry_of=job_id):
                return await _job_by_request(connection, old.tenant, request_id)
            await connection.execute(SQL.use_dataset, old.dataset_id)
            if not old.counts.total:
                # It ended before its dataset was checked: all rows are still to run.
                if ready:
                    await add_job_chunks(connection, new_job_id, old.dataset_id)
            elif not await connection.fetchval(SQL.retry_job_chunks, job_id, new_job_id):
                raise StateConflictError(
                    "job",
                    job_id,
                    f"{current} with no row to retry",
                    "ended with rows that failed, expired or were cancelled",
                )
            await self._secrets.copy(connection, job_id, new_job_id)
            await check_job(connection, quotas, old.tenant, new_job_id)
            return await _created(connection, new_job_id, state)

    async def delete_job(self, job_id: str, *, reason: str = "deleted") -> Job:
        async with self._database.transaction() as connection:
            return await delete_job(connection, job_id, reason=reason)

    async def secrets(self, job_id: str) -> JobSecrets:
        async with self._database.connection() as connection:
            return await self._secrets.get(connection, job_id)

    async def unfinished_jobs(self) -> list[Job]:
        async with self._database.connection() as connection:
            ids = [record["job_id"] for record in await connection.fetch(SQL.unfinished_jobs)]
            jobs = {record["job_id"]: to_job(record) for record in await connection.fetch(SQL.job_details, ids)}
        return [jobs[job_id] for job_id in ids if job_id in jobs]

    # --- events ---

    async def latest_sequence(self) -> int:
        async with self._database.connection() as connection:
            sequence: int = await connection.fetchval(SQL.latest_sequence)
        return sequence

    async def state_changes(self, after: int, *, limit: int) -> list[StateChange]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.state_changes, after, limit)
        horizon = records[0]["horizon"]
        if after < horizon:
            raise SequenceTooOldError(after, horizon + 1)
        return [msgspec.convert(dict(record), StateChange) for record in records if record["sequence"] is not None]

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        return self._listener.on_jobs(listener)


async def _insert(connection: Connection, new: NewJob, state: JobState, *, retry_of: str | None) -> bool:
    created = await connection.fetchval(
        SQL.create_job, new.job_id, new.dataset_id, scoped_request_id(new.tenant, new.request_id),
        msgspec.to_builtins(new.server_config),
        new.base_model_id, new.base_model_aliases, state, new.priority, new.deadline, new.labels, retry_of,
        new.error_threshold, new.default_max_tokens, new.price_micros_per_million,
        new.admission.answer if new.admission else None, new.admission.reason if new.admission else "",
        new.admission.earliest_finish_time if new.admission else None, new.traceparent, new.tenant,
    )  # fmt: skip
    return created is not None


async def _job_by_request(connection: Connection, tenant: str, request_id: str | None) -> Job:
    job_id = await connection.fetchval(SQL.job_by_request, scoped_request_id(tenant, request_id))
    if job_id is None:
        raise BusyError(f"the job of request '{request_id}' was deleted just now; use another request_id")
    return await fetch_job(connection, job_id)


async def _created(connection: Connection, job_id: str, state: JobState) -> Job:
    sequence = await connection.fetchval(SQL.next_sequence)
    await connection.execute(SQL.number_job, job_id, sequence)
    return await append_event(connection, sequence, job_id, None, state, "")
