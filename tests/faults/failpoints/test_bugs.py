"""What a bug does to the service at each step: it is survived and told of, or ends the process; never half of it.

A supervisor starts a process again that has ended. One that goes on without its scheduler would answer calls, look
healthy, and do nothing.
"""

from pathlib import Path

import pytest
from lorax_batch_client import JobState

from tests.end_to_end.rows import make_rows
from tests.faults.failpoints.crash import Place, read_files, run_job

pytestmark = pytest.mark.timeout(240)

ENDS = (
    "ingest.before_chunk_put",
    "ingest.after_finish",
    "run.before_claim",
    "run.after_move",
    "run.before_commit",
    "run.after_commit",
    "lease.before_renew",
    "removal.after_delete",
)
SURVIVED = ("finalise.before_put", "finalise.after_finish")


@pytest.mark.parametrize("point", [*ENDS[:4], *(pytest.param(point, marks=pytest.mark.long) for point in ENDS[4:])])
def test_a_bug_ends_the_process(place: Place, point: str, tmp_path: Path) -> None:
    """A bug in what runs rows, ingests or removes ends the process with a failure that says where; none is lost."""
    rows = make_rows(point.replace(".", "-").replace("_", "-"), 20)
    before = place.service.fired()
    place.service.begin(f"{point}=error@1")
    job = place.while_it_fails(run_job(rows, point))
    assert place.service.fired() == [*before, point]
    assert job.state is JobState.SUCCEEDED
    read_files(place, job, tmp_path, rows)
    place.check_rest()


@pytest.mark.parametrize("point", SURVIVED)
def test_a_bug_that_meets_one_job_is_told_of(place: Place, point: str, tmp_path: Path) -> None:
    """A bug while one job is ended is logged with the job, and the process goes on for the others."""
    rows = make_rows(point.replace(".", "-").replace("_", "-"), 20)
    before = place.service.fired()
    place.service.start(f"{point}=error@1")
    with place.service.client() as client:
        dataset = client.wait_for_dataset(client.upload_dataset(rows, request_id=f"{point}-dataset"))
        client.create_job(dataset, base_model="mistral-7b-instruct-v0-2", request_id=f"{point}-job")
        place.service.wait_logged("finalising_failed")
        other = run_job(rows, f"{point}-other")(client)
        assert other.state is JobState.SUCCEEDED
    assert place.service.fired() == [*before, point]
    place.service.kill()
    place.service.start()
    with place.service.client() as client:
        job = run_job(rows, point)(client)
    assert job.state is JobState.SUCCEEDED
    read_files(place, job, tmp_path, rows)
    place.check_rest()
