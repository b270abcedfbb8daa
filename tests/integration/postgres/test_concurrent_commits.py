"""Commits that meet each other, or somebody else's lock, in the middle."""

import asyncio

import pytest
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.ports import CommitReceipt, JobActivity

from tests.integration.postgres.conftest import LEASE, Stores
from tests.integration.postgres.test_commit import results_of


async def test_a_commit_that_is_sent_again_while_the_first_still_waits_for_a_lock_is_accepted(stores: Stores) -> None:
    """A connection may be lost while PostgreSQL still works on what came over it: the second try meets the first."""
    await stores.ready_dataset(5)
    await stores.queued_job()
    await stores.leases.register_scheduler("s1", LEASE, exclusive=False)
    (chunk,) = await stores.leases.claim_chunks("s1", "job_1", ChunkKind.ROWS, "adapter-0", 1)
    results = [results_of(chunk, [0, 1])]
    async with asyncio.TaskGroup() as group, stores.database.transaction() as holder:
        await holder.execute("UPDATE jobs SET priority = 1 WHERE job_id = 'job_1'")
        tries = [group.create_task(stores.leases.commit_results("s1", results, [])) for _ in range(2)]
        await _until_waiting(stores, 2)
    receipts: list[CommitReceipt] = [task.result() for task in tries]
    assert [receipt.accepted for receipt in receipts] == [{("job_1", 0)}] * 2
    assert (await stores.jobs.get_job("job_1")).counts.succeeded == 2
    assert len(await stores.results.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)) == 1


@pytest.mark.damages_database("the job and the scheduler are deleted by hand, to hold their locks")
async def test_a_job_or_scheduler_that_is_deleted_at_that_moment_does_not_break_the_commit(stores: Stores) -> None:
    """The others' results are stored, though activity is told of a job that is not there any more."""
    await stores.ready_dataset(5)
    await stores.queued_job()
    await stores.queued_job("job_2")
    await stores.leases.register_scheduler("s1", LEASE, exclusive=False)
    (chunk,) = await stores.leases.claim_chunks("s1", "job_1", ChunkKind.ROWS, "adapter-0", 1)
    activity = [
        JobActivity(job_id=job_id, in_flight=1, retrying=0, rows_per_second=1.0, tokens_per_second=1.0)
        for job_id in ("job_1", "job_2")
    ]
    await stores.jobs.move_job("job_2", JobEvent.CANCEL)
    async with asyncio.TaskGroup() as group, stores.database.transaction() as holder:
        await holder.execute("DELETE FROM jobs WHERE job_id = 'job_2'")
        task = group.create_task(stores.leases.commit_results("s1", [results_of(chunk, [0])], activity))
        await _until_waiting(stores, 1)
    assert task.result().accepted == {("job_1", 0)}
    async with asyncio.TaskGroup() as group, stores.database.transaction() as holder:
        await holder.execute("DELETE FROM schedulers WHERE scheduler_id = 's1'")
        task = group.create_task(stores.leases.commit_results("s1", [], activity[:1]))
        await _until_waiting(stores, 1)
    assert task.result().accepted == set()
    await stores.leases.register_scheduler("s2", LEASE, exclusive=True)


async def _until_waiting(stores: Stores, count: int) -> None:
    async with stores.database.connection() as connection, asyncio.timeout(10):
        while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < count:  # noqa: ASYNC110 - nobody is told of a wait
            await asyncio.sleep(0.005)
