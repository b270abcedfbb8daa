from lorax_batch.v1 import fleet_pb2

from tests.integration.cli.conftest import Command
from tests.integration.client.scripted_service import Service


async def test_slots_are_listed(command: Command, service: Service):
    slot = fleet_pb2.Slot(slot_id="slot_1", kind="static", url="http://gpu:80", reason="no answer")
    service.script.expect("ListSlots", fleet_pb2.ListSlotsResponse(slots=[slot]))
    ended = await command("fleet", "slots")
    assert "http://gpu:80" in ended.stdout
    assert "no answer" in ended.stdout


async def test_servers_are_listed_one_object_a_line(command: Command, service: Service):
    server = fleet_pb2.Server(server_id="s_1", state=fleet_pb2.SERVER_STATE_READY, warm_adapters=["a", "b"])
    service.script.expect("ListServers", fleet_pb2.ListServersResponse(servers=[server]))
    ended = await command("fleet", "servers", "--json")
    assert (ended.objects[0]["state"], ended.objects[0]["warm_adapters"]) == ("ready", ["a", "b"])
