"""The two lists of the Fleet service."""

from datetime import UTC, datetime

import grpc
from lorax_batch.v1 import fleet_pb2 as pb
from lorax_batch_scheduler.fleet import ServerLimits, ServerState, ServerStatus, Slot

from tests.integration.api.conftest import Api, refusal

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def server(slot: Slot, state: ServerState, limits: ServerLimits | None) -> ServerStatus:
    return ServerStatus(
        server_id=slot.slot_id.replace("slot", "server"),
        slot=slot,
        url=slot.url,
        state=state,
        reason="" if limits else "connection refused",
        limits=limits,
        base_model_id="mistral-7b" if limits else None,
        in_flight=3,
        in_flight_limit=32,
        rows_per_second=1.5,
        tokens_per_second=300.0,
        warm_adapters=["a"],
        row_latency_s=0.25 if limits else None,
        ready_time=NOW if limits else None,
        update_time=NOW,
    )


def furnish(api: Api) -> None:
    slots = [Slot(slot_id=f"slot_{n}", kind="static", url=f"http://host{n}:80") for n in range(3)]
    limits = ServerLimits(model_id="mistralai/Mistral-7B-v0.1", max_concurrent_requests=128, max_total_tokens=4096)
    api.fleet_view.standing_servers = [
        server(slots[0], ServerState.READY, limits),
        server(slots[2], ServerState.SUSPECT, limits),
        server(slots[1], ServerState.UNREACHABLE, None),
    ]


async def test_slots_tell_the_server_on_them_or_why_there_is_none(api: Api) -> None:
    furnish(api)
    slots = (await api.fleet.ListSlots(pb.ListSlotsRequest())).slots
    told = [(slot.slot_id, slot.server_id, slot.reason) for slot in slots]
    assert told == [
        ("slot_0", "server_0", ""),
        ("slot_1", "", "connection refused"),
        ("slot_2", "server_2", ""),
    ]


async def test_servers_tell_their_limits_and_load(api: Api) -> None:
    furnish(api)
    ready, unreachable, _ = (await api.fleet.ListServers(pb.ListServersRequest())).servers
    assert (ready.state, ready.base_model_id, ready.max_concurrent_requests) == (
        pb.SERVER_STATE_READY,
        "mistral-7b",
        128,
    )
    assert (ready.max_input_length, ready.row_latency.ToTimedelta().total_seconds()) == (0, 0.25)
    assert (unreachable.model_id, unreachable.HasField("ready_time")) == ("", False)


async def test_lists_are_paged(api: Api) -> None:
    furnish(api)
    first = await api.fleet.ListSlots(pb.ListSlotsRequest(page_size=2))
    rest = await api.fleet.ListSlots(pb.ListSlotsRequest(page_size=2, page_token=first.next_page_token))
    assert [slot.slot_id for slot in [*first.slots, *rest.slots]] == ["slot_0", "slot_1", "slot_2"]
    assert rest.next_page_token == ""
    foreign = pb.ListServersRequest(page_token=first.next_page_token)
    told = await refusal(api.fleet.ListServers(foreign))
    assert (told.code, *told.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")
    assert (await refusal(api.fleet.ListSlots(pb.ListSlotsRequest(page_size=-1)))).fields.keys() == {"page_size"}
