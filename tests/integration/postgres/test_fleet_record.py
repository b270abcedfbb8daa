"""What a scheduler records of its fleet, and what it hears of drains, over a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot, SlotStatus
from lorax_batch_scheduler.ports import FleetReport
from lorax_batch_scheduler.postgres.fleet_store import PostgresFleetStore
from lorax_batch_scheduler.scheduling.fleet_record import FleetRecord

from tests.fleets import furnish, server, slot
from tests.integration.postgres.conftest import LEASE, Stores


@dataclass
class StandingFleet:
    """A fleet that is as the test has made it."""

    standing_slots: list[SlotStatus] = field(default_factory=list)
    standing_servers: list[ServerStatus] = field(default_factory=list)

    def slots(self) -> list[Slot]:
        return [status.slot for status in self.standing_slots]

    def slot_statuses(self) -> list[SlotStatus]:
        return self.standing_slots

    def servers(self) -> list[ServerStatus]:
        return self.standing_servers


class Recorded:
    """A record that runs, and its scheduler."""

    def __init__(self, stores: Stores, scheduler_id: str, *, store: PostgresFleetStore | None = None) -> None:
        self.stores = stores
        self.scheduler_id = scheduler_id
        self.fleet = StandingFleet()
        self.drains = 0
        self.changed = asyncio.Event()
        self.record = FleetRecord(
            store or stores.fleet,
            self.fleet,
            scheduler_id=lambda: self.scheduler_id,
            clock=SystemClock(),
            alone=False,
            on_drained=self._drained,
        )

    def _drained(self) -> None:
        self.drains += 1
        self.changed.set()

    async def until_drained_are(self, expected: dict[str, str]) -> None:
        while self.record.drained != expected:
            self.changed.clear()
            await self.changed.wait()

    async def until(self, is_so: Callable[[], object]) -> None:
        """Return when that is so; what the record does in between is a few statements."""
        while not is_so():  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)

    async def until_stored(self, slot_ids: set[str], server_ids: set[str]) -> None:
        while True:
            state = await self.stores.fleet.state()
            if state.slots.keys() == slot_ids and state.servers.keys() == server_ids:
                return


@asynccontextmanager
async def recording(
    stores: Stores, scheduler_id: str = "scheduler_1", **options: PostgresFleetStore
) -> AsyncIterator[Recorded]:
    await stores.leases.register_scheduler(scheduler_id, LEASE, exclusive=False)
    recorded = Recorded(stores, scheduler_id, **options)
    task = asyncio.create_task(recorded.record.run())
    try:
        async with asyncio.timeout(15):
            yield recorded
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_slots_and_servers_come_and_go(stores: Stores) -> None:
    async with recording(stores) as recorded:
        recorded.fleet.standing_slots = [slot(1, "a"), slot(2)]
        recorded.fleet.standing_servers = [server("a", 1, ServerState.STARTING)]
        recorded.record.wake()
        await recorded.until_stored({"slot_1", "slot_2"}, {"a"})
        recorded.fleet.standing_slots = [slot(2, "b")]
        recorded.fleet.standing_servers = [server("b", 2)]
        recorded.record.wake()
        await recorded.until_stored({"slot_2"}, {"b"})


async def test_a_scheduler_with_a_new_name_tells_everything_anew(stores: Stores) -> None:
    async with recording(stores) as recorded:
        recorded.fleet.standing_slots, recorded.fleet.standing_servers = [slot(1, "a")], [server("a")]
        recorded.record.wake()
        await recorded.until_stored({"slot_1"}, {"a"})
        await stores.leases.unregister_scheduler("scheduler_1")
        await stores.leases.register_scheduler("scheduler_2", LEASE, exclusive=False)
        recorded.scheduler_id = "scheduler_2"
        recorded.record.wake()
        await recorded.until_stored({"slot_1"}, {"a"})


class LosesAnswers(PostgresFleetStore):
    """Records, but the first answer never arrives."""

    lost = 0

    async def record(self, scheduler_id: str, report: FleetReport) -> None:
        await super().record(scheduler_id, report)
        if report.servers and not self.lost:
            self.lost += 1
            raise DatabaseError("the connection broke")


async def test_a_server_whose_record_had_no_answer_does_not_stay_for_ever(stores: Stores) -> None:
    store = LosesAnswers(stores.database, stores.listener)
    async with recording(stores, store=store) as recorded:
        recorded.fleet.standing_slots, recorded.fleet.standing_servers = [slot(1, "a")], [server("a")]
        recorded.record.wake()
        await recorded.until(lambda: store.lost)
        recorded.fleet.standing_slots, recorded.fleet.standing_servers = [slot(1)], []
        await recorded.until_stored({"slot_1"}, set())


async def test_drains_are_heard_by_every_scheduler_at_once(stores: Stores) -> None:
    await furnish(stores.leases, stores.fleet, [slot(1), slot(2)], scheduler_id="elsewhere")
    async with recording(stores) as one, recording(stores, "scheduler_2") as other:
        await one.until(lambda: one.record.elsewhere == ())
        began = asyncio.get_running_loop().time()
        await stores.fleet.drain_slot("slot_1", "new driver")
        for each in (one, other):
            await each.until_drained_are({"slot_1": "new driver"})
        await stores.fleet.drain_slot("slot_2", "")
        await one.until_drained_are({"slot_1": "new driver", "slot_2": ""})
        await stores.fleet.undrain_slot("slot_1")
        await one.until_drained_are({"slot_2": ""})
        assert asyncio.get_running_loop().time() - began < 3
        assert one.drains == 3


async def test_drains_of_before_are_known_before_anything_runs(stores: Stores) -> None:
    await furnish(stores.leases, stores.fleet, [slot(1)], scheduler_id="elsewhere")
    await stores.fleet.drain_slot("slot_1", "new driver")
    await stores.leases.unregister_scheduler("elsewhere")
    recorded = Recorded(stores, "scheduler_1")
    await recorded.record.read_drained()
    assert recorded.record.drained == {"slot_1": "new driver"}
    await recorded.record.read_drained()
    assert recorded.drains == 1


async def test_a_drain_is_noticed_although_its_wake_up_was_lost(stores: Stores) -> None:
    await furnish(stores.leases, stores.fleet, [slot(1)], scheduler_id="elsewhere")
    async with recording(stores) as recorded:
        async with stores.database.connection() as connection:
            await connection.execute("INSERT INTO drained_slots VALUES ('slot_1', 'by hand', '{}')")
        await recorded.until_drained_are({"slot_1": "by hand"})
    async with stores.database.connection() as connection:
        await connection.execute("DELETE FROM drained_slots")


async def test_servers_of_others_are_seen_but_not_those_of_shared_slots(stores: Stores) -> None:
    servers = [server("a", 1), server("b", 2)]
    await furnish(stores.leases, stores.fleet, [slot(1, "a"), slot(2, "b")], servers, scheduler_id="elsewhere")
    async with recording(stores) as recorded:
        recorded.fleet.standing_slots = [slot(1)]
        await recorded.until(lambda: [view.server_id for view in recorded.record.elsewhere] == ["b"])


async def test_a_slot_of_several_schedulers_is_told_as_the_one_sees_it_that_has_a_server(stores: Stores) -> None:
    await furnish(stores.leases, stores.fleet, [slot(1, "a", reason="mine")], [server("a")], scheduler_id="one")
    await furnish(stores.leases, stores.fleet, [slot(1, reason="silent")], scheduler_id="two")
    (told,) = await stores.fleet.slots()
    assert (told.reason, told.server_ids) == ("mine", ("a",))


async def test_a_dead_scheduler_records_nothing(stores: Stores) -> None:
    await stores.fleet.record("never_registered", FleetReport(slots=[slot(1)], slot_ids=["slot_1"]))
    assert await stores.fleet.slots() == []
    await furnish(stores.leases, stores.fleet, [slot(1)], lease_s=-1)
    assert await stores.fleet.slots() == []


@pytest.mark.damages_database("moves a job by hand")
async def test_tokens_left_are_estimated_from_the_dataset_and_from_rows_so_far(stores: Stores) -> None:
    await stores.ready_dataset(6, 4)
    await stores.queued_job("job_1")
    await stores.queued_job("job_2")
    async with stores.database.connection() as connection:
        await connection.execute(
            "UPDATE jobs SET state = 'RUNNING', succeeded = 4, result_count = 4, completion_tokens = 80 "
            "WHERE job_id = 'job_1'"
        )
        queues = (await stores.fleet.state()).queues
    (queue,) = queues.values()
    assert (queue.jobs_queued, queue.jobs_running, queue.rows_left) == (1, 1, 16)
    assert queue.tokens_left == 16 * (10 + 20)
