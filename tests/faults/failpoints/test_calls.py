"""The service dies before and after each call that changes a job or a dataset is carried out."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from lorax_batch_client import Client, Job, JobState, Slot
from lorax_batch_client.errors import NotFoundError

from tests.end_to_end.job_story import JobStory
from tests.end_to_end.poll import poll_until
from tests.end_to_end.rows import make_rows
from tests.faults.failpoints.crash import NOBODY_HOSTS, Place, read_files, run_cancelled_job, upload

pytestmark = pytest.mark.timeout(240)

PAUSE = ("pause.before_move", "pause.after_move", "resume.before_move", "resume.after_move")
RETRY = ("retry.before_store", "retry.after_store")
DELETE_JOB = ("delete.before_rows", "delete.after_rows", "removal.before_delete", "removal.after_delete")
DELETE_DATASET = ("delete.before_dataset", "delete.after_dataset", "removal.before_delete", "removal.after_delete")
DRAIN = ("slot.before_drain", "slot.after_drain")
POINTS = (*PAUSE, *RETRY, *DELETE_JOB, *DELETE_DATASET, *DRAIN)


def test_a_job_is_paused_and_resumed_through_deaths(place: Place, tmp_path: Path) -> None:
    """PauseJob and ResumeJob may be repeated after a death; the job is paused once and goes on once."""
    rows = make_rows("pause", 20)

    def run(client: Client) -> Job:
        job = client.create_job(upload(client, rows, "pause"), base_model=NOBODY_HOSTS, request_id="pause-job")
        if not paused:
            client.pause_job(job)
            paused.append(job)
        return client.resume_job(job)

    paused: list[Job] = []
    job = place.through_deaths(PAUSE, run)
    assert job.state is JobState.QUEUED
    with place.service.client() as client:
        client.cancel_job(job)
        job = JobStory(client, job).finish()
    read_files(place, job, tmp_path, rows)
    place.check_rest()


def test_a_job_is_retried_through_deaths(place: Place, tmp_path: Path) -> None:
    """RetryJob with a request_id makes one job, however often the service dies at it."""
    rows = make_rows("retry", 20)
    first = run_cancelled_job(rows, "retry")

    def run(client: Client) -> Job:
        return client.retry_job(first(client), request_id="retry-again")

    again = place.through_deaths(RETRY, run)
    with place.service.client() as client:
        assert [job.retry_of for job in client.list_jobs() if job.retry_of == again.retry_of] == [again.retry_of]
        client.cancel_job(again)
        job = JobStory(client, again).finish()
    assert job.counts.cancelled == 20
    read_files(place, job, tmp_path, rows)
    place.check_rest()


def test_a_job_is_deleted_with_its_files_through_deaths(place: Place) -> None:
    """A job that was deleted is gone with its files, whatever died between its rows and its objects."""
    rows = make_rows("delete-job", 20)
    place.service.start()
    with place.service.client() as client:
        job = run_cancelled_job(rows, "delete-job")(client)
    place.check_rest()
    place.through_deaths(DELETE_JOB, gone(lambda client: client.delete_job(job)))
    place.check_rest()


def test_a_dataset_is_deleted_with_its_chunks_through_deaths(place: Place) -> None:
    """A dataset that was deleted is gone with its chunks, whatever died between its rows and its objects."""
    place.service.start()
    with place.service.client() as client:
        dataset = upload(client, make_rows("delete-dataset", 20), "delete-dataset")
    place.check_rest()
    place.through_deaths(DELETE_DATASET, gone(lambda client: client.delete_dataset(dataset)))
    place.check_rest()


def gone(delete: Callable[[Client], None]) -> Callable[[Client], None]:
    """Return a program that deletes, and is content when it is gone already."""

    def run(client: Client) -> None:
        with suppress(NotFoundError):
            delete(client)

    return run


def test_a_slot_is_drained_through_deaths(place: Place) -> None:
    """DrainSlot may be repeated; what it has stored before a death is there after it."""

    def run(client: Client) -> Slot:
        (slot,) = poll_until(lambda: list(client.list_slots()), bool)
        return client.drain_slot(slot, reason="" if slot.drained else "new driver")

    slot = place.through_deaths(DRAIN, run)
    assert (slot.drained, slot.drain_reason) == (True, "new driver")
    with place.service.client() as client:
        assert not client.undrain_slot(slot).drained
    place.check_rest()
