"""The Fleet service but for its watch: two lists, and slots taken out of service."""

import grpc
from lorax_batch.v1 import fleet_pb2 as pb
from lorax_batch_scheduler.fleet import ServerState

from tests.fleets import GIB, furnish, server, slot
from tests.integration.api.conftest import Api, refusal


async def three_slots(api: Api) -> None:
    slots = [slot(1, "server_1"), slot(3, "server_3"), slot(2, reason="no family needs it")]
    servers = [server(), server("server_3", 3, ServerState.STARTING)]
    await furnish(api.stores.leases, api.stores.fleet, slots, servers)


async def listed(api: Api) -> list[pb.Slot]:
    return list((await api.fleet.ListSlots(pb.ListSlotsRequest())).slots)


async def test_slots_are_listed_with_a_server_or_without(api: Api) -> None:
    await three_slots(api)
    slots = await listed(api)
    assert [(one.slot_id, one.server_id, [*one.server_ids], one.reason) for one in slots] == [
        ("slot_1", "server_1", ["server_1"], ""),
        ("slot_2", "", [], "no family needs it"),
        ("slot_3", "server_3", ["server_3"], ""),
    ]
    told = slots[0]
    assert (told.kind, told.gpu_kind, told.memory_bytes, told.node) == ("command", "a100-80", 80 * GIB, "host-1")
    assert (told.drained, told.HasField("update_time")) == (False, True)


async def test_servers_tell_their_limits_and_load(api: Api) -> None:
    await three_slots(api)
    ready, starting = (await api.fleet.ListServers(pb.ListServersRequest())).servers
    assert (ready.state, ready.base_model_id) == (pb.SERVER_STATE_READY, "mistral-7b")
    assert (ready.max_concurrent_requests, ready.max_input_length) == (128, 0)
    assert ready.row_latency.ToTimedelta().total_seconds() == 0.25
    assert (starting.state, starting.model_id) == (pb.SERVER_STATE_STARTING, "")
    assert not starting.HasField("ready_time")


async def test_lists_are_paged(api: Api) -> None:
    await three_slots(api)
    first = await api.fleet.ListSlots(pb.ListSlotsRequest(page_size=2))
    rest = await api.fleet.ListSlots(pb.ListSlotsRequest(page_size=2, page_token=first.next_page_token))
    assert [one.slot_id for one in [*first.slots, *rest.slots]] == ["slot_1", "slot_2", "slot_3"]
    assert rest.next_page_token == ""
    foreign = pb.ListServersRequest(page_token=first.next_page_token)
    told = await refusal(api.fleet.ListServers(foreign))
    assert (told.code, *told.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")
    assert (await refusal(api.fleet.ListSlots(pb.ListSlotsRequest(page_size=-1)))).fields.keys() == {"page_size"}


async def test_a_slot_is_drained_and_put_back(api: Api) -> None:
    await three_slots(api)
    drained = (await api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_2", reason="new driver"))).slot
    assert (drained.slot_id, drained.drained, drained.drain_reason) == ("slot_2", True, "new driver")
    assert drained.reason == "no family needs it"
    assert [one.drained for one in await listed(api)] == [False, True, False]
    back = (await api.fleet.UndrainSlot(pb.UndrainSlotRequest(slot_id="slot_2"))).slot
    assert (back.slot_id, back.drained, back.drain_reason) == ("slot_2", False, "")
    assert not any(one.drained for one in await listed(api))


async def test_draining_twice_changes_the_reason_only_when_there_is_one(api: Api) -> None:
    await three_slots(api)
    reasons = []
    for reason in ("", "fan is loud", "", "fan is broken"):
        answer = await api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_1", reason=reason))
        reasons.append(answer.slot.drain_reason)
    assert reasons == ["", "fan is loud", "fan is loud", "fan is broken"]


async def test_a_slot_in_service_is_undrained_without_harm(api: Api) -> None:
    await three_slots(api)
    for _ in range(2):
        assert not (await api.fleet.UndrainSlot(pb.UndrainSlotRequest(slot_id="slot_1"))).slot.drained


async def test_an_unknown_slot_is_not_found_and_near_ones_are_named(api: Api) -> None:
    lonely = await refusal(api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_1")))
    assert (lonely.code, lonely.message) == (
        grpc.StatusCode.NOT_FOUND,
        "no slot 'slot_1': no scheduler has any slot",
    )
    await three_slots(api)
    near = await refusal(api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_33")))
    assert near.message == "no slot 'slot_33': was slot_3 or slot_2 or slot_1 meant?"
    far = await refusal(api.fleet.UndrainSlot(pb.UndrainSlotRequest(slot_id="gpu/7")))
    assert far.message == "no slot 'gpu/7': there are slot_1, slot_2, slot_3"
    assert (far.code, far.details) == (grpc.StatusCode.NOT_FOUND, ["ErrorInfo", "ResourceInfo"])
    assert not any(one.drained for one in await listed(api))


async def test_odd_requests_to_drain_are_refused_by_field(api: Api) -> None:
    await three_slots(api)
    for reason in ("x" * 501, "two\nlines"):
        told = await refusal(api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_1", reason=reason)))
        assert (told.code, *told.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "reason")
    assert (await refusal(api.fleet.DrainSlot(pb.DrainSlotRequest()))).fields.keys() == {"slot_id"}
    assert (await refusal(api.fleet.UndrainSlot(pb.UndrainSlotRequest()))).fields.keys() == {"slot_id"}


async def test_a_drain_outlives_its_scheduler(api: Api) -> None:
    await three_slots(api)
    await api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_1", reason="new driver"))
    await api.stores.leases.unregister_scheduler("scheduler_1")
    (left,) = await listed(api)
    assert (left.slot_id, left.gpu_kind, left.drained) == ("slot_1", "a100-80", True)
    assert (left.drain_reason, left.reason) == ("new driver", "no living scheduler has this slot")
    await furnish(api.stores.leases, api.stores.fleet, [slot(1)], scheduler_id="scheduler_2")
    (back,) = await listed(api)
    assert (back.drained, back.drain_reason, back.reason) == (True, "new driver", "")


async def test_a_drained_slot_that_never_comes_back_is_forgotten_when_undrained(api: Api) -> None:
    await three_slots(api)
    await api.fleet.DrainSlot(pb.DrainSlotRequest(slot_id="slot_1"))
    await api.stores.leases.unregister_scheduler("scheduler_1")
    told = (await api.fleet.UndrainSlot(pb.UndrainSlotRequest(slot_id="slot_1"))).slot
    assert (told.drained, told.reason) == (False, "no living scheduler has this slot")
    assert await listed(api) == []
    again = await refusal(api.fleet.UndrainSlot(pb.UndrainSlotRequest(slot_id="slot_1")))
    assert again.code is grpc.StatusCode.NOT_FOUND
