"""What callers do to jobs that are on their way: every row still ends on exactly one line."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lorax_batch_client import Client, ClientError, JobState, OnInvalid

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import key_of, make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)

ROWS = 3_000


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.1", "--max-concurrent-requests", "32") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulator: Simulator) -> Service:
    return serve(simulator.url)


@pytest.fixture
def held(simulator: Simulator) -> Iterator[None]:
    """Let the server take rows and answer none, until the test is over or switches it off."""
    simulator.ask("faults", {"on": ["wedge"]})
    yield
    simulator.ask("faults", {"clear": True})


def stored_objects(service: Service) -> set[str]:
    folder = service.directory / "data" / "objects"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_cancelled_job_keeps_its_finished_rows(client: Client, tmp_path: Path) -> None:
    rows = make_rows("cancel", 1_500)
    story = submit(client, rows)
    story.until_ended_rows(200)
    assert client.cancel_job(story.job_id, reason="enough").state is JobState.CANCELLING
    assert client.cancel_job(story.job_id).state in (JobState.CANCELLING, JobState.CANCELLED)
    job = story.finish()
    assert job.state is JobState.CANCELLED
    assert story.check.states[-2:] == [JobState.CANCELLING, JobState.CANCELLED]
    files = download_files(client, job, tmp_path)
    check_all_rows(files, rows)
    assert files.codes == {"batch_cancelled": job.counts.cancelled}
    assert 200 <= job.counts.succeeded < 1_500
    assert job.counts.succeeded + job.counts.cancelled == 1_500
    assert client.cancel_job(story.job_id).state is JobState.CANCELLED, "cancelling twice is no error"
    again = JobStory(client, client.retry_job(story.job_id)).finish()
    assert again.counts.succeeded == again.counts.total == job.counts.cancelled
    assert download_files(client, again, tmp_path).output.keys() == files.errors.keys()


def test_a_queued_job_is_cancelled_with_all_its_rows(client: Client, tmp_path: Path) -> None:
    rows = make_rows("queued", 1_500)
    dataset = client.upload_dataset(rows)
    client.wait_for_dataset(dataset)
    job = client.create_job(dataset, base_model="llama-2-7b")
    story = JobStory(client, job)
    waiting = story.until(lambda job: job.state is JobState.QUEUED and bool(job.reason))
    assert "llama-2-7b" in waiting.reason
    client.cancel_job(job)
    job = story.finish()
    assert job.state is JobState.CANCELLED
    assert JobState.RUNNING not in story.check.states
    files = download_files(client, job, tmp_path)
    check_all_rows(files, rows)
    assert files.codes == {"batch_cancelled": 1_500}


def test_a_job_whose_dataset_is_still_checked_can_be_cancelled(client: Client, tmp_path: Path) -> None:
    dataset = client.upload_dataset(make_rows("early", 60_000, max_tokens=5))
    job = client.create_job(dataset, base_model=MODEL)
    assert job.state is JobState.VALIDATING, "the dataset was checked too quickly for this test"
    client.cancel_job(job)
    story = JobStory(client, job)
    ended = story.finish()
    assert ended.state is JobState.CANCELLED
    assert JobState.QUEUED not in story.check.states
    download_files(client, ended, tmp_path)
    client.wait_for_dataset(dataset)
    assert client.get_job(job) == ended, "what the check found later changes nothing"


def test_a_paused_job_sends_nothing_and_goes_on_without_repeating_a_row(
    client: Client, simulator: Simulator, tmp_path: Path
) -> None:
    rows = make_rows("pause", 1_500)
    story = submit(client, rows)
    story.until_ended_rows(200)
    client.pause_job(story.job_id)
    assert client.pause_job(story.job_id).state is JobState.PAUSED
    poll_until(lambda: simulator.ask("stats")["permits_taken"], lambda taken: taken == 0)
    sent = simulator.ask("stats")["rows_received"]
    # Everything that was in flight is committed, and nothing follows.
    paused = poll_until(
        lambda: client.get_job(story.job_id), lambda job: job.counts.in_flight == 0 and job.counts.ended >= 200
    )
    other = submit(client, make_rows("between", 100))
    assert other.finish().counts.succeeded == 100
    assert simulator.ask("stats")["rows_received"] == sent + 100
    still = client.get_job(story.job_id)
    assert (still.state, still.counts) == (JobState.PAUSED, paused.counts)
    client.resume_job(story.job_id)
    job = story.finish()
    assert job.state is JobState.SUCCEEDED
    check_all_rows(download_files(client, job, tmp_path), rows)
    received = simulator.ask("requests")["received"]
    assert {received[key_of("pause", number)] for number in range(1_500)} == {1}


def test_a_job_expires_at_its_deadline(client: Client, tmp_path: Path) -> None:
    rows = make_rows("late", ROWS)
    story = submit(client, rows, deadline=timedelta(hours=1))
    story.until_ended_rows(100)
    client.update_job(story.job_id, deadline=datetime.now(UTC) + timedelta(seconds=0.2))
    job = story.finish()
    assert job.state is JobState.EXPIRED
    assert "deadline" in job.reason
    files = download_files(client, job, tmp_path)
    check_all_rows(files, rows)
    assert files.codes == {"batch_expired": job.counts.expired}
    assert job.counts.succeeded >= 100
    assert job.counts.expired == ROWS - job.counts.succeeded > 0


def test_a_later_deadline_lets_a_job_finish(client: Client, simulator: Simulator, tmp_path: Path, held: None) -> None:
    rows = make_rows("patient", 20)
    story = submit(client, rows, deadline=timedelta(seconds=1.5))
    changed = client.update_job(story.job_id, deadline=timedelta(hours=1))
    assert changed.deadline is not None
    first_deadline = changed.create_time + timedelta(seconds=1.5) if changed.create_time else datetime.now(UTC)
    poll_until(lambda: datetime.now(UTC), lambda now: now > first_deadline + timedelta(seconds=1.1))
    simulator.ask("faults", {"clear": True})
    job = story.finish()
    assert job.state is JobState.SUCCEEDED
    check_all_rows(download_files(client, job, tmp_path), rows)


def test_too_many_failed_rows_end_a_job_early(client: Client, simulator: Simulator, tmp_path: Path) -> None:
    simulator.ask("faults", {"on": ["plain-text-422=fault:plain"]})
    rows = make_rows("wrong", ROWS)
    rows[::2] = make_rows("wrong", ROWS, words="fault:plain")[::2]
    story = submit(client, rows, error_threshold=0.05)
    job = story.finish()
    simulator.ask("faults", {"clear": True})
    assert job.state is JobState.FAILED
    assert "5.00%" in job.reason
    files = download_files(client, job, tmp_path)
    check_all_rows(files, rows)
    assert files.codes["batch_failed"] > 0, "it ran to its end"
    assert job.counts.failed + job.counts.succeeded == ROWS
    assert job.errors


def test_failed_rows_are_retried_in_a_new_job_of_exactly_those(
    client: Client, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.ask("faults", {"on": ["plain-text-422=fault:plain"]})
    rows = make_rows("retry", 300)
    for number in range(0, 300, 10):
        rows[number] = make_rows("retry", number + 1, words="fault:plain")[number]
    story = submit(client, rows)
    first = story.finish()
    simulator.ask("faults", {"clear": True})
    assert (first.state, first.counts.failed) == (JobState.SUCCEEDED, 30)
    failed = download_files(client, first, tmp_path).errors
    again = client.retry_job(story.job_id)
    assert (again.retry_of, again.counts.total) == (story.job_id, 30)
    second = JobStory(client, again).finish()
    assert second.counts.succeeded == 30
    files = download_files(client, second, tmp_path)
    assert files.output.keys() == failed.keys()
    with pytest.raises(ClientError):
        client.retry_job(second)


def test_invalid_lines_of_a_dataset_are_in_the_error_file(client: Client, tmp_path: Path) -> None:

    rows = make_rows("skip", 50)
    lines = [json.dumps(row) for row in rows]
    lines[3] = "not json"
    lines[7] = json.dumps({**rows[7], "url": "/v1/nothing"})
    lines[9] = json.dumps({**rows[9], "custom_id": "skip-0"})
    lines[20] = json.dumps({**rows[20], "body": {**rows[20]["body"], "stream": True}})
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    dataset = client.wait_for_dataset(client.upload_dataset(path, on_invalid=OnInvalid.SKIP))
    assert dataset.invalid_row_count == 4
    job = JobStory(client, client.create_job(dataset, base_model=MODEL)).finish()
    assert (job.state, job.counts.invalid, job.counts.succeeded) == (JobState.SUCCEEDED, 4, 46)
    files = download_files(client, job, tmp_path)
    assert {line: result["error"]["code"] for line, result in files.errors.items()} == {
        4: "invalid_json_line",
        8: "invalid_url",
        10: "duplicate_custom_id",
        21: "streaming_unsupported",
    }
    assert (files.output | files.errors).keys() == set(range(1, 51))
    cancelled = client.create_job(dataset, base_model="llama-2-7b")
    client.cancel_job(cancelled)
    ended = JobStory(client, cancelled).finish()
    assert (ended.counts.invalid, ended.counts.cancelled) == (4, 46)
    files = download_files(client, ended, tmp_path)
    assert (files.output | files.errors).keys() == set(range(1, 51))


def test_deleting_a_job_and_its_dataset_leaves_no_object(service: Service, client: Client) -> None:
    before = stored_objects(service)
    dataset = client.wait_for_dataset(client.upload_dataset(make_rows("gone", 100)))
    job = JobStory(client, client.create_job(dataset, base_model=MODEL)).finish()
    assert job.state is JobState.SUCCEEDED
    assert stored_objects(service) > before
    client.delete_job(job)
    client.delete_dataset(dataset)
    poll_until(lambda: stored_objects(service) - before, lambda left: not left)
