"""Leases when time has passed unnoticed, or the database's clock goes back."""

from datetime import timedelta

from lorax_batch_scheduler.dataset import ChunkKind

from tests.integration.postgres.conftest import LEASE, Stores


async def test_the_lease_of_a_dead_scheduler_does_not_last_for_ever_when_the_clock_went_back(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    # What a clock that was five hours ahead has left behind.
    await stores.leases.register_scheduler("dead", timedelta(hours=5), exclusive=False)
    assert await stores.leases.claim_chunks("dead", "job_1", ChunkKind.ROWS, "adapter-0", 1)
    await stores.leases.register_scheduler("alive", LEASE, exclusive=False)
    assert await stores.leases.renew_scheduler("alive", LEASE)
    async with stores.database.connection() as connection:
        left = await connection.fetchval("SELECT lease_until - now() FROM schedulers WHERE scheduler_id = 'dead'")
    assert left <= timedelta(minutes=10)


async def test_a_lease_that_ran_out_goes_on_unless_somebody_has_ended_it(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    await stores.leases.register_scheduler("late", LEASE, exclusive=False)
    assert await stores.leases.claim_chunks("late", "job_1", ChunkKind.ROWS, "adapter-0", 1)
    await run_out(stores, "late")
    assert await stores.leases.renew_scheduler("late", LEASE)
    await run_out(stores, "late")
    await stores.leases.register_scheduler("other", LEASE, exclusive=False)
    assert await stores.leases.renew_scheduler("other", LEASE)
    assert not await stores.leases.renew_scheduler("late", LEASE)
    (taken,) = await stores.leases.claim_chunks("other", "job_1", ChunkKind.ROWS, "adapter-0", 1)
    assert taken.epoch == 3


async def run_out(stores: Stores, scheduler_id: str) -> None:
    async with stores.database.connection() as connection:
        await connection.execute(
            "UPDATE schedulers SET lease_until = now() - interval '1 s' WHERE scheduler_id = $1", scheduler_id
        )
