"""What callers are told of the end of their jobs: whether a deadline can be met, and when the job should end."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lorax_batch_client import Client, JobAdmission, JobFilter, JobState

from tests.end_to_end.job_story import MODEL, submit
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.2", "--max-concurrent-requests", "16") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulator: Simulator) -> Service:
    return serve(simulator.url)


def in_future(**span: float) -> datetime:
    return datetime.now(UTC) + timedelta(**span)


def test_a_job_is_told_at_once_whether_its_deadline_can_be_met(client: Client) -> None:
    first = submit(client, make_rows("first", 2_000, max_tokens=200), deadline=in_future(hours=5))
    job = client.get_job(first.job_id)
    assert job.admission is JobAdmission.FEASIBLE
    assert "its deadline is in 5.0 h" in job.admission_reason
    assert job.earliest_finish_time is not None
    assert in_future() < job.earliest_finish_time < in_future(hours=1)

    late = submit(client, make_rows("late", 2_000, max_tokens=200), deadline=in_future(seconds=3))
    judged = client.get_job(late.job_id)
    assert judged.admission is JobAdmission.INFEASIBLE
    assert "even if it goes first" in judged.admission_reason
    # Another deadline is judged anew.
    assert client.update_job(late.job_id, deadline=in_future(hours=4)).admission is JobAdmission.UNKNOWN
    again = late.until(lambda each: each.admission is not JobAdmission.UNKNOWN)
    assert again.admission is JobAdmission.FEASIBLE
    for story in (first, late):
        client.cancel_job(story.job_id)
        story.finish()


def test_nothing_is_stored_by_asking(client: Client) -> None:
    dataset = submit(client, make_rows("asked", 10)).finish().dataset_id
    told = client.create_job(dataset, base_model=MODEL, deadline=in_future(hours=1), validate_only=True)
    assert told.admission is JobAdmission.FEASIBLE
    assert not told.job_id
    assert len(list(client.list_jobs(JobFilter(dataset_id=dataset)))) == 1


def test_a_running_job_has_an_end_with_a_band_that_what_was_learned_moves(client: Client) -> None:
    story = submit(client, make_rows("banded", 700, max_tokens=60))
    job = story.until(lambda each: each.progress is not None and each.progress.eta_late is not None)
    assert job.progress is not None
    early, eta, late = job.progress.eta_early, job.progress.eta, job.progress.eta_late
    assert early is not None
    assert eta is not None
    assert late is not None
    assert early <= eta <= late
    assert in_future(minutes=-1) < eta < in_future(hours=1)
    assert story.finish().state is JobState.SUCCEEDED


def test_what_was_learned_outlives_the_service(service: Service, tmp_path: Path) -> None:
    assert service.stop() == 0
    service.start()
    with service.client() as client:
        story = submit(client, make_rows("known", 1_500, max_tokens=1_000), deadline=in_future(hours=1))
        told = client.get_job(story.job_id)
        # Rows of this model end after some 20 to 100 tokens, as was seen, whatever they are allowed.
        assert told.earliest_finish_time is None or told.earliest_finish_time < in_future(minutes=10)
        client.cancel_job(story.job_id)
        story.finish()
