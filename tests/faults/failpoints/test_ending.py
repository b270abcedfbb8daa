"""The service dies at every step of ending a job: its rows get their lines, its files are written, once."""

from datetime import timedelta
from pathlib import Path

import pytest
from lorax_batch_client import Client, Job, JobState

from tests.end_to_end.job_story import JobStory
from tests.end_to_end.rows import Row, make_rows
from tests.faults.failpoints.crash import NOBODY_HOSTS, Place, read_files, run_cancelled_job, upload

pytestmark = pytest.mark.timeout(240)

CANCEL = ("cancel.before_move", "cancel.after_move")
FINALISE = (
    "finalise.before_fence",
    "finalise.after_fence",
    "finalise.after_settle",
    "finalise.before_put",
    "finalise.after_put@1",
    "finalise.after_put@2",
    "finalise.before_finish",
    "finalise.after_finish",
)
PARTS = (
    "finalise.before_upload",
    "finalise.after_upload_started",
    "finalise.before_part",
    "finalise.after_part",
    "finalise.after_part_saved",
    "finalise.before_part",
    "finalise.after_part",
    "finalise.before_complete",
    "finalise.after_complete",
)
EXPIRE = ("run.before_move", "run.after_move")
POINTS = (*CANCEL, *FINALISE, *PARTS)
LONG = "x" * 480
"""Of a custom_id: 14,000 error lines are more than one part of a file."""


@pytest.mark.parametrize("points", [CANCEL, FINALISE], ids=["cancel", "finalise"])
def test_a_job_is_cancelled_through_deaths_at_every_step(place: Place, points: tuple[str, ...], tmp_path: Path) -> None:
    """A cancelled job ends CANCELLED, its rows on one line each, though the service dies at each step of that."""
    tag = points[0].partition(".")[0]
    rows = make_rows(tag, 20, adapters=("", "org/a"))
    job = place.through_deaths(points, run_cancelled_job(rows, tag))
    assert (job.state, job.counts.cancelled) == (JobState.CANCELLED, 20)
    assert read_files(place, job, tmp_path, rows).codes == {"batch_cancelled": 20}
    place.check_rest()


def test_a_job_expires_through_deaths(place: Place, tmp_path: Path) -> None:
    """A deadline that passes when the service dies is seen by the next life; the job EXPIRES once."""
    rows = make_rows("expire", 20)

    def run(client: Client) -> Job:
        dataset = upload(client, rows, "expire")
        job = client.create_job(dataset, base_model=NOBODY_HOSTS, request_id="expire-job", deadline=timedelta(hours=1))
        if client.get_job(job).state is JobState.QUEUED:
            client.update_job(job, deadline=timedelta(seconds=0.1))
        return JobStory(client, job).finish()

    job = place.through_deaths(EXPIRE, run)
    assert (job.state, job.counts.expired) == (JobState.EXPIRED, 20)
    assert read_files(place, job, tmp_path, rows).codes == {"batch_expired": 20}
    place.check_rest()


@pytest.mark.parametrize("store", [pytest.param("place", marks=pytest.mark.long), "s3_place"], ids=["directory", "s3"])
def test_a_file_of_several_parts_is_written_through_deaths(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A file of several parts goes on where a life stopped, and no unfinished upload is left behind."""
    place: Place = request.getfixturevalue(store)
    rows = long_rows(14_000)
    job = place.through_deaths(PARTS, run_cancelled_job(rows, "parts"))
    assert (job.state, job.counts.cancelled) == (JobState.CANCELLED, 14_000)
    read_files(place, job, tmp_path, rows)
    place.check_rest()


def long_rows(count: int) -> list[Row]:
    return [{**row, "custom_id": f"{LONG}{number}"} for number, row in enumerate(make_rows("parts", count))]
