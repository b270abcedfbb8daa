"""Leases when time has passed unnoticed, or the database's clock goes back."""

import asyncio
from datetime import timedelta

from lorax_batch_scheduler.clock import ScaledClock, SystemClock
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.scheduling.lease_keeper import LeaseKeeper

from tests.integration.postgres.conftest import LEASE, Stores
from tests.integration.postgres.lone_scheduler import with_methods


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


async def test_whoever_is_late_itself_does_not_judge_others_who_may_be_late_for_the_same_reason(stores: Stores) -> None:
    """After an outage of PostgreSQL that was longer than a lease, nobody loses its chunks to whoever is back first."""
    for name in ("first", "second", "dead"):
        await stores.leases.register_scheduler(name, LEASE, exclusive=False)
    for name in ("first", "second", "dead"):
        await run_out(stores, name)
    assert await stores.leases.renew_scheduler("first", LEASE)
    assert await stores.leases.renew_scheduler("second", LEASE)
    assert await stores.leases.renew_scheduler("first", LEASE)
    assert not await stores.leases.renew_scheduler("dead", LEASE)


async def test_a_renewal_that_is_never_answered_leaves_time_for_another(stores: Stores) -> None:
    """A connection that died in silence costs a renewal, not the lease."""
    asked = 0
    asked_again = asyncio.Event()

    async def renew(scheduler_id: str, lease: timedelta) -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        if asked == 3:
            asked_again.set()
        return await stores.leases.renew_scheduler(scheduler_id, lease)

    leases = with_methods(stores.leases, renew_scheduler=renew)
    clock = ScaledClock(SystemClock(), 0.05)
    keeper = LeaseKeeper(leases=leases, new_id=lambda: "s1", clock=clock, exclusive=False)
    await keeper.register()
    granted = keeper.sure_until
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        keeping = group.create_task(keeper.run())
        await asked_again.wait()
        keeping.cancel()
    assert keeper.sure_until > granted
    assert keeper.scheduler_id == "s1"


async def run_out(stores: Stores, scheduler_id: str) -> None:
    async with stores.database.connection() as connection:
        await connection.execute(
            "UPDATE schedulers SET lease_until = now() - interval '1 s' WHERE scheduler_id = $1", scheduler_id
        )
