"""The one reader of the fleet: shared by all watches, coalescing, and patient with PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import pytest
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.fleet import FleetState, ServerStatus, SlotStatus
from lorax_batch_scheduler.postgres.fleet_store import PostgresFleetStore
from lorax_batch_server import fleet_watch
from lorax_batch_server.fleet_watch import FleetHappening, FleetHeartbeat, FleetHub
from lorax_batch_server.stopping import Stopping

from tests.fleets import furnish, report, server, slot
from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.conftest import stores as stores

SLOTS = [slot(1, "server_1")]


class CountedFleet(PostgresFleetStore):
    """The store, but reads are counted, and fail when they are told to."""

    def __init__(self, stores: Stores) -> None:
        super().__init__(stores.database, stores.listener)
        self.reads = 0
        self.has_read = asyncio.Event()
        self.fails = False

    async def state(self) -> FleetState:
        self.reads += 1
        self.has_read.set()
        if self.fails:
            raise DatabaseError("PostgreSQL is away")
        return await super().state()


@pytest.fixture
async def fleet(stores: Stores) -> CountedFleet:
    """Return the store of a fleet of one slot with one server."""
    await furnish(stores.leases, stores.fleet, SLOTS, [server(in_flight=0)])
    return CountedFleet(stores)


@asynccontextmanager
async def hub_on(fleet: CountedFleet, *, interval_s: float = 0.01, poll_s: float = 60.0) -> AsyncIterator[FleetHub]:
    """Yield a hub that runs and reads only when it hears of something."""
    hub = FleetHub(fleet, Stopping(), heartbeat_s=60.0, interval_s=interval_s, poll_s=poll_s)
    task = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        task.cancel()
        await asyncio.wait([task])


async def set_load(fleet: CountedFleet, in_flight: int) -> None:
    await fleet.record("scheduler_1", report(SLOTS, [server(in_flight=in_flight)]))


async def snapshot(watch: AsyncIterator[FleetHappening]) -> list[FleetHappening]:
    """Read a watch up to the first heartbeat."""
    seen: list[FleetHappening] = []
    async with asyncio.timeout(10):
        while not isinstance(happening := await anext(watch), FleetHeartbeat):
            seen.append(happening)
    return seen


async def next_load(watch: AsyncIterator[FleetHappening]) -> int:
    async with asyncio.timeout(10):
        while not isinstance(happening := await anext(watch), ServerStatus):
            pass
    return happening.in_flight


async def test_watches_share_reads_however_many_there_are(fleet: CountedFleet) -> None:
    async with hub_on(fleet) as hub, asyncio.timeout(10):
        watches = [hub.watch() for _ in range(100)]
        async with asyncio.TaskGroup() as group:
            opened = [group.create_task(snapshot(watch)) for watch in watches]
        assert all([type(one) for one in task.result()] == [ServerStatus, SlotStatus] for task in opened)
        assert fleet.reads <= 4
        before = fleet.reads
        await set_load(fleet, 7)
        async with asyncio.TaskGroup() as group:
            told = [group.create_task(next_load(watch)) for watch in watches]
        assert {task.result() for task in told} == {7}
        assert fleet.reads <= before + 2
        for watch in watches:
            await watch.aclose()
        assert hub.watcher_count == 0


async def test_nothing_is_read_while_nobody_watches(fleet: CountedFleet) -> None:
    async with hub_on(fleet, poll_s=0.01) as hub:
        async with aclosing(hub.watch()) as watch:
            await snapshot(watch)
        reads = fleet.reads
        await set_load(fleet, 7)
        await set_load(fleet, 8)
        assert fleet.reads <= reads + 1
        async with aclosing(hub.watch()) as watch:
            (status, _) = await snapshot(watch)
        assert isinstance(status, ServerStatus)
        assert status.in_flight == 8


async def test_who_reads_slowly_is_told_only_the_newest(fleet: CountedFleet) -> None:
    async with hub_on(fleet) as hub, aclosing(hub.watch()) as slow, aclosing(hub.watch()) as quick:
        await snapshot(slow)
        await snapshot(quick)
        for load in range(1, 6):
            await set_load(fleet, load)
            assert await next_load(quick) == load
        assert await next_load(slow) == 5


async def test_a_status_is_told_no_more_often_than_the_interval_says(fleet: CountedFleet) -> None:
    interval_s, times = 0.1, list[float]()
    async with hub_on(fleet, interval_s=interval_s) as hub, aclosing(hub.watch()) as watch:
        await snapshot(watch)
        for load in range(1, 5):
            await set_load(fleet, load)
            async with aclosing(hub.watch()) as newcomer:
                await snapshot(newcomer)  # is shown it at once
            assert await next_load(watch) == load
            times.append(asyncio.get_running_loop().time())
    assert min(after - before for before, after in pairwise(times)) > 0.8 * interval_s


async def test_a_status_that_is_only_newer_is_no_news(fleet: CountedFleet, stores: Stores) -> None:
    async with hub_on(fleet) as hub, aclosing(hub.watch()) as watch:
        await snapshot(watch)
        async with stores.database.connection() as connection:
            await connection.execute(
                """UPDATE servers SET status = jsonb_set(status, '{update_time}', '"2030-01-01T00:00:00Z"')"""
            )
        await fleet.drain_slot("slot_1", "")
        assert isinstance(await anext(watch), SlotStatus)


async def test_a_watch_that_can_not_begin_says_so(fleet: CountedFleet) -> None:
    fleet.fails = True
    async with hub_on(fleet) as hub:
        with pytest.raises(DatabaseError, match="PostgreSQL is away"):
            await snapshot(hub.watch())
        assert hub.watcher_count == 0


async def test_a_watch_that_has_begun_outlives_an_outage(fleet: CountedFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_watch, "RETRY_S", 0.01)
    async with hub_on(fleet, poll_s=0.01) as hub, aclosing(hub.watch()) as watch:
        await snapshot(watch)
        fleet.fails = True
        await set_load(fleet, 7)
        async with asyncio.timeout(10):
            for _ in range(3):
                await fleet.has_read.wait()
                fleet.has_read.clear()
        fleet.fails = False
        assert await next_load(watch) == 7
