"""Which move a job is due for."""

from datetime import UTC, datetime, timedelta

import pytest
from lorax_batch_scheduler.job import Counts, Job, JobEvent, JobState
from lorax_batch_scheduler.scheduling.job_care import due_move
from lorax_batch_scheduler.server_config import ServerConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(state: JobState = JobState.RUNNING, counts: Counts | None = None, **fields) -> Job:
    return Job(
        job_id="job_1",
        dataset_id="ds_1",
        server_config=ServerConfig(base_model="m"),
        base_model_id="m",
        state=state,
        create_time=NOW,
        update_time=NOW,
        counts=counts or Counts(total=10, pending=10),
        **fields,
    )


def event(given: Job) -> JobEvent | None:
    due = due_move(given, NOW)
    return due[0] if due else None


def test_a_job_with_rows_to_go_is_left_alone() -> None:
    assert event(job()) is None


def test_a_job_whose_rows_all_ended_is_finalised_also_when_paused() -> None:
    counts = Counts(total=10, succeeded=9, failed=1)
    for state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
        assert event(job(state, counts)) is JobEvent.ROWS_DONE
    assert event(job(JobState.FINALIZING, counts)) is None


def test_a_job_expires_at_its_deadline_and_not_before() -> None:
    assert event(job(deadline=NOW + timedelta(microseconds=1))) is None
    assert event(job(deadline=NOW)) is JobEvent.EXPIRE
    assert event(job(JobState.VALIDATING, deadline=NOW)) is JobEvent.EXPIRE
    assert event(job(JobState.CANCELLING, deadline=NOW)) is None


@pytest.mark.parametrize(("failed", "due"), [(1, None), (2, None), (3, JobEvent.ABORT)])
def test_a_job_fails_when_more_than_the_threshold_failed(failed: int, due: JobEvent | None) -> None:
    counts = Counts(total=10, failed=failed, pending=10 - failed)
    assert event(job(counts=counts, error_threshold=0.2)) is due
    assert event(job(counts=counts)) is None
