"""Creating a job: the caller learns what became of it, however often it asks."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lorax_batch_client import JobState
from lorax_batch_client.errors import UnavailableError

from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.scenarios.conftest import Start
from tests.faults.scenarios.witness import calls, once_each, wait_fired
from tests.processes import Simulator


def test_create_crash_after_store(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """A service that dies before it answers CreateJob has stored the whole job or nothing, and the same call again,
    with its request_id, returns that job: it runs once.

    Where storing and queueing are two steps, the caller hears of a failure, tries again, and the job runs twice.
    """
    rows = make_rows("made", 150)
    service = start(simulator.url, failpoints="create.before_store=kill")
    with service.client() as client:
        dataset = client.wait_for_dataset(client.upload_dataset(rows))
        with pytest.raises(UnavailableError):
            client.create_job(dataset, base_model=MODEL, request_id="order-1")
    service.wait_killed()
    service.start("create.after_store=kill")
    with service.client() as client:
        assert not list(client.list_jobs())
        with pytest.raises(UnavailableError):
            client.create_job(dataset, base_model=MODEL, request_id="order-1")
    service.wait_killed()
    service.start()
    assert service.fired() == ["create.before_store", "create.after_store"]
    with service.client() as client:
        (stored,) = client.list_jobs()
        job = client.create_job(dataset, base_model=MODEL, request_id="order-1")
        assert job.job_id == stored.job_id
        ended = JobStory(client, job).finish()
        assert ended.state is JobState.SUCCEEDED
        assert client.create_job(dataset, base_model=MODEL, request_id="order-1").job_id == job.job_id
        assert len(list(client.list_jobs())) == 1
        check_all_rows(download_files(client, ended, tmp_path), rows)
    assert calls("made", simulator) == once_each("made", len(rows))
    assert service.stop() == 0


def test_two_replicas_are_asked_for_the_same_job_at_once(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """One request_id makes one job, also when two replicas have both found that there is none yet."""
    go_on = tmp_path / "go-on"
    one = start(simulator.url, failpoints=f"create.before_insert=hold:{go_on}", wait=False)
    two = start(failpoints=f"create.before_insert=hold:{go_on}")
    one.wait_ready()
    rows = make_rows("both", 100)
    with one.client() as left, two.client() as right, ThreadPoolExecutor() as threads:
        dataset = left.wait_for_dataset(left.upload_dataset(rows))
        asked = [
            threads.submit(client.create_job, dataset, base_model=MODEL, request_id="order-2")
            for client in (left, right)
        ]
        for service in (one, two):
            wait_fired(service, "create.before_insert")
        go_on.touch()
        first, second = (future.result() for future in asked)
        assert first.job_id == second.job_id
        assert [job.job_id for job in left.list_jobs()] == [first.job_id]
        ended = JobStory(right, first).finish()
        check_all_rows(download_files(right, ended, tmp_path), rows)
    assert calls("both", simulator) == once_each("both", len(rows))
