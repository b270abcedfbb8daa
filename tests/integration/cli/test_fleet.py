import grpc
from lorax_batch.v1 import fleet_pb2

from tests.integration.cli.conftest import Command
from tests.integration.client.scripted_service import Abort, Service

HEARTBEAT = fleet_pb2.WatchFleetResponse()
HEARTBEAT.heartbeat.GetCurrentTime()
SLOT = fleet_pb2.Slot(
    slot_id="slot_1", kind="command", gpu_kind="a100-80", memory_bytes=80 << 30, node="host-1", server_ids=["s_1"]
)
DRAINED = fleet_pb2.Slot(slot_id="slot_2", kind="static", url="http://gpu:80", drained=True, drain_reason="new driver")
SERVER = fleet_pb2.Server(
    server_id="s_1",
    slot_id="slot_1",
    state=fleet_pb2.SERVER_STATE_READY,
    base_model_id="mistral-7b",
    in_flight=12,
    in_flight_limit=64,
    rows_per_second=3.5,
    tokens_per_second=1234,
    warm_adapters=["a", "b"],
)
QUEUE = fleet_pb2.Queue(
    base_model_id="mistral-7b", jobs_queued=2, jobs_running=1, rows_left=12_345, tokens_left=6_789_000
)
NO_MORE = Abort(code=grpc.StatusCode.PERMISSION_DENIED)


def told(**event: object) -> fleet_pb2.WatchFleetResponse:
    return fleet_pb2.WatchFleetResponse(**event)  # type: ignore[arg-type]


def words(line: str) -> list[str]:
    return line.split()


async def test_slots_are_listed_with_where_they_are_and_why(command: Command, service: Service):
    silent = fleet_pb2.Slot(slot_id="slot_3", kind="static", url="http://gpu:81", reason="no answer")
    service.script.expect("ListSlots", fleet_pb2.ListSlotsResponse(slots=[SLOT, DRAINED, silent]))
    heading, free, drained, unreachable = (await command("fleet", "slots")).stdout.splitlines()
    assert words(heading)[-3:] == ["IN", "SERVICE", "REASON"]
    assert words(free) == ["slot_1", "command", "a100-80", "80", "GiB", "host-1", "s_1", "yes"]
    assert words(drained) == ["slot_2", "static", "http://gpu:80", "no", "drained:", "new", "driver"]
    assert words(unreachable)[-3:] == ["yes", "no", "answer"]


async def test_servers_are_listed_one_object_a_line(command: Command, service: Service):
    server = fleet_pb2.Server(server_id="s_1", state=fleet_pb2.SERVER_STATE_READY, warm_adapters=["a", "b"])
    service.script.expect("ListServers", fleet_pb2.ListServersResponse(servers=[server]))
    ended = await command("fleet", "servers", "--json")
    assert (ended.objects[0]["state"], ended.objects[0]["warm_adapters"]) == ("ready", ["a", "b"])


async def test_servers_are_listed_with_their_load_and_reason(command: Command, service: Service):
    starting = fleet_pb2.Server(
        server_id="s_2", slot_id="slot_2", state=fleet_pb2.SERVER_STATE_STARTING, reason="loads its model"
    )
    service.script.expect("ListServers", fleet_pb2.ListServersResponse(servers=[SERVER, starting]))
    _, ready, loading = (await command("fleet", "servers")).stdout.splitlines()
    assert words(ready) == ["s_1", "slot_1", "ready", "mistral-7b", "12", "64", "3.5", "1,234.0", "2", "-"]
    assert loading.endswith("loads its model")


async def test_a_slot_is_drained_and_put_back(command: Command, service: Service):
    service.script.expect("DrainSlot", *[fleet_pb2.DrainSlotResponse(slot=DRAINED)] * 2)
    service.script.expect("UndrainSlot", fleet_pb2.UndrainSlotResponse(slot=SLOT))
    ended = await command("fleet", "drain", "slot_2", "--reason", "new driver")
    assert ended.stdout == "slot_2 is drained: new driver; `lorax-batch fleet undrain slot_2` puts it back\n"
    (shown,) = (await command("fleet", "drain", "slot_2", "--json")).objects
    assert (shown["drained"], shown["drain_reason"]) == (True, "new driver")
    assert (await command("fleet", "undrain", "slot_1")).stdout == "slot_1 is in service\n"
    assert service.script.requests[0] == fleet_pb2.DrainSlotRequest(slot_id="slot_2", reason="new driver")


async def test_an_unknown_slot_is_told_in_one_line(command: Command, service: Service):
    service.script.expect("DrainSlot", Abort(code=grpc.StatusCode.NOT_FOUND, text="no slot 'x': was y meant?"))
    ended = await command("fleet", "drain", "x")
    assert (ended.exit_code, ended.stderr) == (2, "lorax-batch: no slot 'x': was y meant?\n")


async def test_a_watch_says_what_becomes_of_the_fleet_but_not_every_change_of_load(command: Command, service: Service):
    busier, suspect = fleet_pb2.Server(), fleet_pb2.Server()
    for server in (busier, suspect):
        server.CopyFrom(SERVER)
    busier.in_flight = 13
    suspect.state, suspect.reason = fleet_pb2.SERVER_STATE_SUSPECT, "rows do not end"
    opening = [told(server=SERVER), told(slot=SLOT), told(queue=QUEUE), HEARTBEAT]
    events = [told(server=busier), told(server=suspect), told(slot=DRAINED), told(removed_server_id="s_1"), NO_MORE]
    service.script.expect("WatchFleet", [*opening, *events])
    assert (await command("fleet", "watch")).stdout.splitlines() == [
        "slot slot_1: s_1",
        "server s_1: ready, on slot slot_1, mistral-7b",
        "queue mistral-7b: 1 job running, 2 queued",
        "server s_1: suspect, on slot slot_1, mistral-7b, rows do not end",
        "slot slot_2: no server; drained: new driver",
        "server s_1: gone",
    ]


async def test_a_watch_that_begins_anew_says_only_what_is_new(command: Command, service: Service):
    service.script.expect(
        "WatchFleet",
        [told(slot=SLOT), told(slot=DRAINED), HEARTBEAT, Abort(code=grpc.StatusCode.UNAVAILABLE)],
        [told(slot=SLOT), HEARTBEAT, NO_MORE],
    )
    ended = await command("fleet", "watch")
    lines = ended.stdout.splitlines()
    assert lines == ["slot slot_1: s_1", "slot slot_2: no server; drained: new driver", "slot slot_2: gone"]
    gone, back, *_ = ended.stderr.splitlines()
    assert gone == f"lorax-batch: {service.target} does not answer; waiting for it (Ctrl-C ends this)"
    assert back == f"lorax-batch: {service.target} answers again"


async def test_a_watch_for_programs_is_one_event_a_line(command: Command, service: Service):
    service.script.expect("WatchFleet", [told(slot=SLOT), HEARTBEAT, told(server=SERVER), told(queue=QUEUE), NO_MORE])
    opening, change, queue = (await command("fleet", "watch", "--json")).objects
    assert (opening["event"], opening["slots"][0]["slot_id"]) == ("fleet_snapshot", "slot_1")
    assert (change["event"], change["server"]["in_flight"]) == ("server_changed", 12)
    assert (queue["event"], queue["queue"]["rows_left"]) == ("queue_changed", 12_345)


async def test_top_shows_one_frame_where_nobody_looks_on(command: Command, service: Service):
    service.script.expect(
        "WatchFleet", [told(server=SERVER), told(slot=SLOT), told(slot=DRAINED), told(queue=QUEUE), HEARTBEAT]
    )
    ended = await command("fleet", "top")
    assert ended.exit_code == 0, ended.stderr
    totals, _, _, busy, drained, _, _, queue = ended.stdout.splitlines()
    assert totals == (
        "2 slots (1 drained), 1 server (1 ready), 12 rows in flight, 3.5 rows/s, 1,234 tokens/s, 2 adapters warm, "
        "12,345 rows left"
    )
    assert words(busy) == ["slot_1", "mistral-7b", "ready", "12/64", "3.5", "1,234", "2"]
    assert words(drained) == ["slot_2", "drained", "drained:", "new", "driver"]
    assert words(queue) == ["mistral-7b", "1", "1", "2", "12,345", "6,789,000"]


async def test_top_of_an_empty_fleet_says_so(command: Command, service: Service):
    service.script.expect("WatchFleet", [HEARTBEAT])
    lines = (await command("fleet", "top", "--once")).stdout.splitlines()
    assert lines[0].startswith("0 slots, 0 servers (0 ready)")
    assert lines[-1].strip() == "nothing waits or runs"
