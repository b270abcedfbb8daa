"""The service dies at every step of running rows, and of handing them back when it is asked to stop."""

import os
import signal
from pathlib import Path

import pytest
from lorax_batch_client import JobState

from tests.end_to_end.job_story import submit
from tests.end_to_end.rows import make_rows
from tests.faults.failpoints.crash import Place, read_files, run_job
from tests.processes import Simulator

pytestmark = pytest.mark.timeout(240)

START = ("start.before_database", "start.after_database", "listen.before_connect")
RUN = (
    "create.before_store",
    "create.before_insert",
    "move.before_event",
    "create.after_store",
    "move.after_event",
    "run.before_move",
    "run.after_move",
    "run.before_claim",
    "run.after_claim",
    "run.before_commit",
    "run.after_commit",
)
RELEASE = ("run.after_release",)
BEFORE_RELEASE = ("run.before_release",)
LEASE = ("lease.before_renew", "lease.after_renew")
DRAIN = (
    "drain.before_streams_end",
    "drain.after_streams_end",
    "drain.before_hand_back",
    "drain.after_hand_back",
)
POINTS = (*START, *RUN, *BEFORE_RELEASE, *RELEASE, *LEASE, *DRAIN)


def test_a_job_runs_through_deaths_at_every_step(place: Place, tmp_path: Path) -> None:
    """A job is created once and every row has its result once, though the service dies at each step of running it."""
    rows = make_rows("run", 40, adapters=("", "org/a"))
    job = place.through_deaths(RUN, run_job(rows, "run"))
    assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, 40)
    read_files(place, job, tmp_path, rows)
    place.check_rest()


@pytest.mark.parametrize(
    "points", [START, BEFORE_RELEASE, RELEASE, LEASE], ids=["start", "before-release", "release", "lease"]
)
def test_a_job_runs_on_after_a_death_beside_its_way(place: Place, points: tuple[str, ...], tmp_path: Path) -> None:
    """The next life does not wait for the leases of a dead scheduler of its own, renewed, given back or not."""
    tag = points[0].replace(".", "-")
    rows = make_rows(tag, 40)
    job = place.through_deaths(points, run_job(rows, tag))
    assert job.state is JobState.SUCCEEDED
    read_files(place, job, tmp_path, rows)
    place.check_rest()


@pytest.mark.parametrize("point", DRAIN)
def test_rows_that_were_not_handed_back_run_again(
    place: Place, simulator: Simulator, point: str, tmp_path: Path
) -> None:
    """A service that dies while it hands its rows back loses none of them."""
    tag = point.replace(".", "-").replace("_", "-")
    rows = make_rows(tag, 60)
    rows[50:] = make_rows(tag, 60, words="fault:hang")[50:]
    simulator.ask("faults", {"on": ["hang"]})
    before = place.service.fired()
    place.service.begin(f"{point}=kill")
    place.service.wait_ready()
    with place.service.client() as client:
        story = submit(client, rows)
        story.until_ended_rows(10)
        os.kill(place.service.pid, signal.SIGTERM)
        simulator.ask("faults", {"clear": True})
        place.service.wait_killed()
    assert place.service.fired() == [*before, point]
    place.service.start()
    with place.service.client() as client:
        job = client.wait(story.job_id)
    assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, 60)
    read_files(place, job, tmp_path, rows)
    place.check_rest()
