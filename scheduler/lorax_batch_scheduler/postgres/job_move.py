"""Moving a job from state to state inside a transaction: the move, its event, and the wake-up."""

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import NotFoundError, StateConflictError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import OUTCOMES, Job, JobEvent, JobState, next_state
from lorax_batch_scheduler.postgres.database import Connection
from lorax_batch_scheduler.postgres.records import to_job
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.redaction import REDACTOR


async def add_job_chunks(connection: Connection, job_id: str, dataset_id: str) -> None:
    """Give a job the chunks of its dataset."""
    await connection.execute(SQL.create_job_chunks, job_id, dataset_id)


async def lock_job(connection: Connection, job_id: str) -> asyncpg.Record:
    """Hold a job until the end of the transaction."""
    record = await connection.fetchrow(SQL.lock_job, job_id)
    if record is None:
        raise NotFoundError("job", job_id)
    return record


async def fetch_job(connection: Connection, job_id: str) -> Job:
    """Return a job as the transaction sees it."""
    record = await connection.fetchrow(SQL.job_details, [job_id])
    if record is None:
        raise NotFoundError("job", job_id)
    return to_job(record)


async def move_job(connection: Connection, job_id: str, event: JobEvent, *, reason: str = "") -> Job:
    """Move a job by an event and append the state change.

    Raises:
        StateConflictError: the event is not allowed in the job's state; the transaction should be given up.
    """
    record = await lock_job(connection, job_id)
    current = JobState(record["state"])
    outcome = JobState(record["outcome"]) if record["outcome"] else None
    target = next_state(job_id, current, event, outcome)
    reason = REDACTOR.clean(reason)
    if event is JobEvent.FINISH:
        reason = record["reason"]  # why it is what it became was said when that was decided
    sequence = await connection.fetchval(SQL.next_sequence)
    done = await connection.execute(
        SQL.move_job,
        job_id,
        current,
        target,
        OUTCOMES.get(event) or (target if target.terminal else None),
        reason,
        sequence,
        target is JobState.RUNNING,
        target.terminal,
    )
    if done != "UPDATE 1":
        raise StateConflictError("job", job_id, "changed meanwhile", current)
    return await append_event(connection, sequence, job_id, current, target, reason)


@failpoint(before="move.before_event", after="move.after_event")
async def append_event(
    connection: Connection, sequence: int, job_id: str, current: JobState | None, target: JobState, reason: str
) -> Job:
    """Append the state change with the job as it is now, and wake whoever watches."""
    job = await fetch_job(connection, job_id)
    await connection.execute(
        SQL.append_event, sequence, job_id, current, target, reason, msgspec.to_builtins(job), job.tenant
    )
    await connection.execute(SQL.notify_job, job_id)
    return job
