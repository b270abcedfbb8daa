"""Several schedulers with slots of their own plan one after the other, and a dead planner holds nobody up."""

import time
from datetime import datetime
from pathlib import Path

import pytest
from lorax_batch_client import JobState

from tests.end_to_end.job_story import MODEL, submit
from tests.end_to_end.rows import make_rows
from tests.end_to_end.test_command_fleet import slots
from tests.faults.replicas import LEASE_S, Replicas
from tests.faults.replicas import replicas as replicas
from tests.processes import Service

pytestmark = pytest.mark.timeout(120)

TAKE_OVER_S = 10.0
POINTS = ("plan.after_take_turn", "plan.before_end_turn")


def make(replicas: Replicas, tmp_path: Path, name: str) -> Service:
    """Return a scheduler with one slot, in which a simulator may run."""
    return replicas.make("scheduler", fleet=fleet_file(tmp_path, name))


def fleet_file(tmp_path: Path, name: str) -> str:
    fleet = tmp_path / f"{name}.toml"
    fleet.write_text(slots((f"slot-{name}", "fast")))
    return str(fleet)


def test_two_schedulers_start_one_server_for_one_small_job(replicas: Replicas, tmp_path: Path) -> None:
    api = replicas.start("api")
    schedulers = [make(replicas, tmp_path, name) for name in ("one", "two")]
    for each in schedulers:
        each.start()
    with api.client() as client:
        assert submit(client, make_rows("small", 50), base_model=MODEL).finish().state is JobState.SUCCEEDED
        assert sum(slot.starts for slot in client.list_slots()) == 1
        assert len(replicas.logged("server_starting")) == 1
    assert [each.stop() for each in schedulers] == [0, 0]


@pytest.mark.parametrize("point", POINTS)
def test_a_planner_that_dies_in_its_turn_is_followed_by_another(replicas: Replicas, tmp_path: Path, point: str) -> None:
    api = replicas.start("api")
    dies = make(replicas, tmp_path, "one")
    lives = replicas.prepare("scheduler", fleet=fleet_file(tmp_path, "two"))
    with api.client() as client:
        dies.start(f"{point}=kill")
        story = submit(client, make_rows("kept", 50), base_model=MODEL)
        dies.wait_killed()
        died_at = time.time()
        replicas.let_go(lives)
        assert story.finish().state is JobState.SUCCEEDED
    started = replicas.logged("server_starting")[-1]
    assert started["slot"] == "slot-two"
    assert datetime.fromisoformat(started["timestamp"]).timestamp() - died_at < LEASE_S + TAKE_OVER_S
    assert lives.stop() == 0
    dies.start()  # what it had started is adopted, and ends with it
    assert dies.stop() == 0
