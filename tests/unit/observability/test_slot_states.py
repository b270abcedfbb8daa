"""Whatever state a server is in, its slot has one that metrics tell."""

from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_server.scheduler_metrics import OF_SERVER


def test_every_state_of_a_server_has_a_state_of_its_slot() -> None:
    assert OF_SERVER.keys() == set(ServerState)
