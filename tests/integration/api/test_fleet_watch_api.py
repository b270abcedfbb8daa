"""WatchFleet: snapshot, changes, order, coalescing, ending."""

import asyncio
import random
from collections.abc import Sequence

import grpc
import pytest
from lorax_batch.v1 import fleet_pb2 as pb
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, SlotStatus
from lorax_batch_scheduler.job import JobEvent

from tests.fleets import furnish, report, server, slot
from tests.integration.api.conftest import Api, refusal
from tests.integration.api.finished_job import run_rows

Watch = grpc.aio.UnaryStreamCall[pb.WatchFleetRequest, pb.WatchFleetResponse]


class Told:
    """What a watch has told; checks on the way what must hold of every message."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.kinds: list[str] = []
        self.slots: dict[str, pb.Slot] = {}
        self.servers: dict[str, pb.Server] = {}
        self.queues: dict[str, pb.Queue] = {}

    async def next(self) -> pb.WatchFleetResponse:
        """Return the next message."""
        async with asyncio.timeout(10):
            async for message in self.watch:
                self._take(message)
                return message
        raise AssertionError(f"ended behind {self.kinds}")

    async def until(self, kind: str) -> pb.WatchFleetResponse:
        """Return the next message of a kind."""
        while (message := await self.next()).WhichOneof("event") != kind:
            pass
        return message

    async def snapshot(self) -> None:
        await self.until("heartbeat")

    def _take(self, message: pb.WatchFleetResponse) -> None:
        kind = message.WhichOneof("event")
        assert kind is not None
        self.kinds.append(kind)
        if kind == "server":
            self.servers[message.server.server_id] = message.server
        elif kind == "slot":
            self.slots[message.slot.slot_id] = message.slot
        elif kind == "queue":
            self.queues[message.queue.base_model_id] = message.queue
        elif kind == "removed_server_id":
            del self.servers[message.removed_server_id]
        elif kind == "removed_slot_id":
            del self.slots[message.removed_slot_id]
        named = {server_id for one in self.slots.values() for server_id in one.server_ids}
        assert named <= self.servers.keys(), f"{kind}: a slot names a server that is not there"


def watched(api: Api) -> Told:
    return Told(api.fleet.WatchFleet(pb.WatchFleetRequest()))


async def record(api: Api, slots: Sequence[SlotStatus], servers: Sequence[ServerStatus]) -> None:
    await api.stores.fleet.record("scheduler_1", report(slots, servers))


async def test_a_watch_begins_with_everything_and_a_heartbeat(api: Api) -> None:
    await furnish(api.stores.leases, api.stores.fleet, [slot(1, "server_1"), slot(2)], [server()])
    await api.stores.ready_dataset(6)
    await api.stores.queued_job("job_1")
    told = watched(api)
    await told.snapshot()
    assert sorted(told.kinds) == ["heartbeat", "queue", "server", "slot", "slot"]
    assert told.kinds[-1] == "heartbeat"
    assert told.servers["server_1"].in_flight == 3
    assert told.queues["mistral-7b"] == pb.Queue(base_model_id="mistral-7b", jobs_queued=1, rows_left=6, tokens_left=60)
    told.watch.cancel()


async def test_what_changes_is_told_and_what_stays_is_not(api: Api) -> None:
    slots, servers = [slot(1, "server_1"), slot(2)], [server()]
    await furnish(api.stores.leases, api.stores.fleet, slots, servers)
    told = watched(api)
    await told.snapshot()
    before = len(told.kinds)
    servers = [server(in_flight=9), server("server_2", 2, ServerState.STARTING)]
    await record(api, [slots[0], slot(2, "server_2")], servers)
    while told.slots["slot_2"].server_id != "server_2":
        await told.until("slot")
    assert [kind for kind in told.kinds[before:] if kind != "heartbeat"] == ["server", "server", "slot"]
    assert (told.servers["server_1"].in_flight, told.servers["server_2"].state) == (9, pb.SERVER_STATE_STARTING)
    await record(api, [slots[0]], [servers[0]])
    assert (await told.until("removed_server_id")).removed_server_id == "server_2"
    assert told.slots.keys() == {"slot_1"}
    told.watch.cancel()


async def test_a_drain_is_told_at_once_and_so_is_its_end(api: Api) -> None:
    await furnish(api.stores.leases, api.stores.fleet, [slot(1)])
    told = watched(api)
    await told.snapshot()
    await api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_1", reason="new driver"))
    message = await told.until("slot")
    assert (message.slot.drained, message.slot.drain_reason) == (True, "new driver")
    await api.fleet.UndrainSlot(pb.UndrainSlotRequest(slot_id="slot_1"))
    assert not (await told.until("slot")).slot.drained
    told.watch.cancel()


async def test_a_watch_that_begins_after_a_drain_shows_it(api: Api) -> None:
    await furnish(api.stores.leases, api.stores.fleet, [slot(1)])
    first = watched(api)
    await first.snapshot()
    for drain in (True, False) * 3:
        if drain:
            await api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_1"))
        else:
            await api.fleet.UndrainSlot(pb.UndrainSlotRequest(slot_id="slot_1"))
        second = watched(api)
        await second.snapshot()
        assert second.slots["slot_1"].drained is drain
        second.watch.cancel()
    first.watch.cancel()


async def test_a_scheduler_whose_lease_runs_out_takes_its_slots_along(api: Api) -> None:
    await furnish(api.stores.leases, api.stores.fleet, [slot(1, "server_1")], [server()])
    told = watched(api)
    await told.snapshot()
    async with api.stores.database.connection() as connection:
        await connection.execute("UPDATE schedulers SET lease_until = now()")
    assert (await told.until("removed_server_id")).removed_server_id == "server_1"
    assert told.slots == {}
    told.watch.cancel()


async def test_queues_follow_their_jobs(api: Api) -> None:
    await api.stores.ready_dataset(6)
    await api.stores.queued_job("job_1")
    told = watched(api)
    await told.snapshot()
    await api.stores.jobs.move_job("job_1", JobEvent.ASSIGN)
    queue = (await told.until("queue")).queue
    assert (queue.jobs_queued, queue.jobs_running, queue.rows_left) == (0, 1, 6)
    await api.stores.jobs.move_job("job_1", JobEvent.START)
    await run_rows(api.stores, "job_1", 6)
    while (queue := (await told.until("queue")).queue).rows_left:
        pass
    assert (queue.jobs_running, queue.tokens_left) == (1, 0)
    await api.stores.jobs.move_job("job_1", JobEvent.ROWS_DONE)
    assert (await told.until("queue")).queue == pb.Queue(base_model_id="mistral-7b")
    told.watch.cancel()


async def test_a_silent_watch_has_heartbeats(api: Api) -> None:
    told = watched(api)
    for _ in range(3):
        await told.until("heartbeat")
    assert told.kinds == ["heartbeat"] * 3
    told.watch.cancel()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_a_watch_ends_up_with_what_the_lists_say(api: Api, seed: int) -> None:
    chance = random.Random(seed)
    await furnish(api.stores.leases, api.stores.fleet)
    watches = [watched(api) for _ in range(3)]
    for told in watches:
        await told.snapshot()
    for _ in range(40):
        hosted = {number: chance.choice([None, None, "a", "b"]) for number in range(chance.randint(0, 5))}
        servers = [
            server(f"server_{number}{life}", number, chance.choice(list(ServerState)), chance.randint(0, 3))
            for number, life in hosted.items()
            if life
        ]
        slots = [slot(number, *([f"server_{number}{life}"] if life else [])) for number, life in hosted.items()]
        await record(api, slots, servers)
        if chance.random() < 0.3:
            await watches[0].until("heartbeat")
    await record(api, [slot(99)], [])
    for told in watches:
        while set(told.slots) != {"slot_99"} or told.servers:
            await told.next()
        told.watch.cancel()


async def test_a_shutdown_ends_watches_at_once(api: Api) -> None:
    told = watched(api)
    await told.snapshot()
    async with asyncio.timeout(5):
        await api.server.stop(30)
    ending = await refusal(told.until("slot"))
    assert (ending.code, ending.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert api.fleet_hub.watcher_count == 0
