"""Ended jobs with true result lines and the files that the finaliser writes, made without a server."""

from collections.abc import Sequence
from datetime import timedelta

from lorax_batch_scheduler.errors import NotFoundError
from lorax_batch_scheduler.job import Job, JobEvent
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.running.result_line import error_line, success_line
from lorax_batch_scheduler.scheduling.output_file import OutputFile
from lorax_batch_scheduler.tenant import DEFAULT_TENANT

from tests.integration.api.finished_job import claim, commit_lines
from tests.integration.postgres.conftest import Stores

FAILS_EVERY = 5
DAY = timedelta(days=1)


def result_line(job_id: str, line: int, *, text: str = "an answer") -> bytes:
    """Return the result of a row; every fifth one failed."""
    name, custom_id = job_id.encode(), b'"row-%d"' % line
    if line % FAILS_EVERY == 0:
        return error_line(name, line, custom_id, code="bad", message=text)
    return success_line(name, line, custom_id, b'{"text":"%s"}' % text.encode())


async def ended_job(
    stores: Stores,
    objects: ObjectStore,
    job_id: str = "job_1",
    dataset_id: str = "ds_1",
    *,
    commits: Sequence[Sequence[int]] = ((2, 1, 5), (3, 4)),
    text: str = "an answer",
    tenant: str = DEFAULT_TENANT,
) -> Job:
    """Store a dataset if it is not there, and a job of it whose rows were committed in these groups of lines."""
    count = sum(map(len, commits))
    try:
        await stores.datasets.get_dataset(dataset_id)
    except NotFoundError:
        await stores.ready_dataset(count, dataset_id=dataset_id, tenant=tenant)
        await objects.put(f"datasets/{dataset_id}/1/pack-00000", b"chunks")
    await stores.queued_job(job_id, dataset_id, tenant=tenant)
    chunk = await claim(stores, job_id)
    for lines in commits:
        answers = {line - 1: (line, result_line(job_id, line, text=text)) for line in lines}
        failed = {line - 1 for line in lines if line % FAILS_EVERY == 0}
        await commit_lines(stores, chunk, answers, failed=failed)
    await stores.jobs.move_job(job_id, JobEvent.ROWS_DONE)
    output = await OutputFile(stores.results, objects, job_id, error=False).write()
    errors = await OutputFile(stores.results, objects, job_id, error=True).write()
    return await stores.results.finish_job(job_id, output, errors)


async def age(stores: Stores, by: timedelta) -> None:
    """Let all that is there be so much older."""
    async with stores.database.connection() as connection:
        for statement in (
            "UPDATE jobs SET end_time = end_time - $1::interval",
            "UPDATE datasets SET update_time = update_time - $1::interval",
            "UPDATE datasets SET last_use_time = last_use_time - $1::interval",
            "UPDATE job_events SET time = time - $1::interval",
            "UPDATE job_remains SET due = due - $1::interval",
            "UPDATE retention_turn SET turn_until = turn_until - $1::interval",
        ):
            await connection.execute(statement, by)
