"""Deleting jobs and datasets inside a transaction: what is small goes at once, the rest is noted for later."""

from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.job import Job, JobState
from lorax_batch_scheduler.object_names import dataset_prefix, results_prefix, uploads_prefix
from lorax_batch_scheduler.postgres.database import Connection
from lorax_batch_scheduler.postgres.job_move import fetch_job, lock_job
from lorax_batch_scheduler.postgres.removal_store import plan_removal
from lorax_batch_scheduler.postgres.statements import SQL


async def delete_job(connection: Connection, job_id: str, *, reason: str) -> Job:
    """Delete an ended job, tell watchers, and note the rows and objects that are left. Raises `StateConflictError`."""
    await connection.execute(SQL.remember_use, job_id)
    current = JobState((await lock_job(connection, job_id))["state"])
    if not current.terminal:
        raise StateConflictError("job", job_id, current, "ended", "cancel it or wait for it")
    job = await fetch_job(connection, job_id)
    await connection.execute(SQL.delete_job, job_id)
    await plan_removal(connection, results_prefix(job_id))
    # Last: until the end of the transaction no other state change can have its sequence.
    sequence = await connection.fetchval(SQL.next_sequence)
    await connection.execute(SQL.append_event, sequence, job_id, current, None, reason, None, job.tenant)
    await connection.execute(SQL.notify_job, job_id)
    return job


async def delete_dataset(connection: Connection, dataset_id: str) -> None:
    """Delete a locked dataset that nobody needs, and note its objects."""
    await connection.execute(SQL.delete_dataset, dataset_id)
    await plan_removal(connection, uploads_prefix(dataset_id))
    await plan_removal(connection, dataset_prefix(dataset_id))
    await connection.execute(SQL.notify_datasets, dataset_id)
