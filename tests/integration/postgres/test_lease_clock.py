"""Leases when the database's clock goes back."""

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
