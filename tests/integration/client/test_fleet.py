import asyncio

import grpc
import pytest
from lorax_batch.v1 import fleet_pb2 as pb
from lorax_batch_client import (
    FleetEvent,
    FleetSnapshot,
    Queue,
    QueueChanged,
    ServerChanged,
    ServerRemoved,
    Slot,
    SlotChanged,
    SlotRemoved,
)
from lorax_batch_client.errors import NotFoundError, PermissionDeniedError

from tests.integration.client.conftest import Caller
from tests.integration.client.scripted_service import UNAVAILABLE, Abort, Service

NO_MORE = Abort(code=grpc.StatusCode.PERMISSION_DENIED)
HEARTBEAT = pb.WatchFleetResponse()
HEARTBEAT.heartbeat.GetCurrentTime()


def slot(slot_id: str = "slot_1", **fields: object) -> pb.WatchFleetResponse:
    return pb.WatchFleetResponse(slot=pb.Slot(slot_id=slot_id, **fields))  # type: ignore[arg-type]


def server(server_id: str = "server_1", in_flight: int = 0) -> pb.WatchFleetResponse:
    return pb.WatchFleetResponse(server=pb.Server(server_id=server_id, in_flight=in_flight))


def queue(jobs_queued: int) -> pb.WatchFleetResponse:
    return pb.WatchFleetResponse(queue=pb.Queue(base_model_id="mistral-7b", jobs_queued=jobs_queued))


async def events_of(caller: Caller) -> list[FleetEvent]:
    """Return what a watch tells until the service wants no more of it."""
    events: list[FleetEvent] = []
    with pytest.raises(PermissionDeniedError):
        await (_gather(caller, events) if caller.is_async else asyncio.to_thread(_gather_sync, caller, events))
    return events


async def _gather(caller: Caller, events: list[FleetEvent]) -> None:
    async for event in caller.client.watch_fleet():
        events.append(event)  # noqa: PERF401 - those before the error count


def _gather_sync(caller: Caller, events: list[FleetEvent]) -> None:
    events.extend(caller.client.watch_fleet())


async def test_a_slot_is_drained_and_undrained(caller: Caller, service: Service):
    drained = pb.Slot(slot_id="slot_1", drained=True, drain_reason="fan", server_ids=["a"], memory_bytes=80, node="n")
    service.script.expect("DrainSlot", pb.DrainSlotResponse(slot=drained))
    service.script.expect("UndrainSlot", pb.UndrainSlotResponse(slot=pb.Slot(slot_id="slot_1")))
    slot = await caller.ask("drain_slot", "slot_1", reason="fan")
    assert (slot.drained, slot.drain_reason, slot.server_ids, slot.memory_bytes) == (True, "fan", ("a",), 80)
    assert not (await caller.ask("undrain_slot", slot)).drained
    assert service.script.requests == [
        pb.DrainSlotRequest(slot_id="slot_1", reason="fan"),
        pb.UndrainSlotRequest(slot_id="slot_1"),
    ]


async def test_a_drain_whose_answer_is_lost_is_sent_again(caller: Caller, service: Service):
    service.script.expect("DrainSlot", UNAVAILABLE, pb.DrainSlotResponse(slot=pb.Slot(slot_id="slot_1", drained=True)))
    assert (await caller.ask("drain_slot", "slot_1")).drained


async def test_an_unknown_slot_is_an_error_with_the_services_words(caller: Caller, service: Service):
    service.script.expect("DrainSlot", Abort(code=grpc.StatusCode.NOT_FOUND, text="no slot 'x': was y meant?"))
    with pytest.raises(NotFoundError, match="was y meant"):
        await caller.ask("drain_slot", "x")


async def test_the_snapshot_is_one_event_and_heartbeats_are_hidden(caller: Caller, service: Service):
    service.script.expect(
        "WatchFleet",
        [server(), slot(), queue(2), HEARTBEAT, HEARTBEAT, server(in_flight=5), HEARTBEAT, slot("slot_2"), NO_MORE],
    )
    snapshot, changed, new = await events_of(caller)
    assert isinstance(snapshot, FleetSnapshot)
    assert ([one.slot_id for one in snapshot.slots], snapshot.queues[0].jobs_queued) == (["slot_1"], 2)
    assert isinstance(changed, ServerChanged)
    assert changed.server.in_flight == 5
    assert isinstance(new, SlotChanged)


async def test_a_broken_watch_begins_anew_with_what_is_there_then(caller: Caller, service: Service):
    service.script.expect(
        "WatchFleet",
        [slot(), UNAVAILABLE],
        [slot(), slot("slot_2"), HEARTBEAT, server(), UNAVAILABLE],
        UNAVAILABLE,
        [slot("slot_2"), HEARTBEAT, NO_MORE],
    )
    first, change, second = await events_of(caller)
    assert isinstance(first, FleetSnapshot)
    assert isinstance(change, ServerChanged)
    assert isinstance(second, FleetSnapshot)
    assert [one.slot_id for one in second.slots] == ["slot_2"]
    assert first.after(change).after(second) == second


async def test_a_kind_of_event_from_the_future_is_left_out(caller: Caller, service: Service):
    service.script.expect("WatchFleet", [HEARTBEAT, pb.WatchFleetResponse(), slot(), NO_MORE])
    assert [type(event) for event in await events_of(caller)] == [FleetSnapshot, SlotChanged]


def test_a_snapshot_follows_events():
    one, two = (SlotChanged(slot=Slot.from_proto(pb.Slot(slot_id=slot_id))) for slot_id in ("slot_1", "slot_2"))
    waiting = Queue(base_model_id="m", jobs_queued=1, jobs_running=0, rows_left=9, tokens_left=90)
    done = Queue(base_model_id="m", jobs_queued=0, jobs_running=0, rows_left=0, tokens_left=0)
    fleet = FleetSnapshot()
    for event in (one, two, one, QueueChanged(queue=waiting)):
        fleet = fleet.after(event)
    assert ([each.slot_id for each in fleet.slots], fleet.queues) == (["slot_1", "slot_2"], (waiting,))
    for last in (SlotRemoved(slot_id="slot_1"), ServerRemoved(server_id="x"), QueueChanged(queue=done)):
        fleet = fleet.after(last)
    assert ([each.slot_id for each in fleet.slots], fleet.queues) == (["slot_2"], ())
