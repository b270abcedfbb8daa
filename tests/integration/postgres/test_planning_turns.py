"""One scheduler plans at a time, and a dead one holds nobody up for longer than its lease."""

from datetime import timedelta

from lorax_batch_scheduler.postgres.planning_turns import PostgresPlanningTurns

from tests.integration.postgres.conftest import Stores

LEASE = timedelta(seconds=60)
TURN = timedelta(seconds=8)


async def test_one_plans_at_a_time_and_the_first_foretells(stores: Stores) -> None:
    turns = PostgresPlanningTurns(stores.database)
    for scheduler in ("a", "b"):
        await stores.leases.register_scheduler(scheduler, LEASE, exclusive=False)
    first = await turns.take_turn("a", TURN)
    assert first is not None
    assert first.foretells
    assert await turns.take_turn("b", TURN) is None
    assert await turns.take_turn("a", TURN) is not None
    await turns.end_turn("b")  # not its own
    assert await turns.take_turn("b", TURN) is None
    await turns.end_turn("a")
    second = await turns.take_turn("b", TURN)
    assert second is not None
    assert not second.foretells


async def test_the_turn_of_a_dead_scheduler_is_over_with_its_lease(stores: Stores) -> None:
    turns = PostgresPlanningTurns(stores.database)
    for scheduler in ("a", "b"):
        await stores.leases.register_scheduler(scheduler, LEASE, exclusive=False)
    assert await turns.take_turn("a", timedelta(hours=1)) is not None
    await stores.leases.unregister_scheduler("a")
    taken = await turns.take_turn("b", TURN)
    assert taken is not None
    assert taken.foretells


async def test_a_turn_is_over_in_time_though_its_scheduler_lives(stores: Stores) -> None:
    turns = PostgresPlanningTurns(stores.database)
    for scheduler in ("a", "b"):
        await stores.leases.register_scheduler(scheduler, LEASE, exclusive=False)
    assert await turns.take_turn("a", timedelta(0)) is not None
    assert await turns.take_turn("b", TURN) is not None
    assert await turns.take_turn("a", TURN) is None
