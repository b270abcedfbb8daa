"""Killed while it checks a dataset, cancels, or writes files: the next life brings the job to its end."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from lorax_batch_client import JobState

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)

MANY = 80_000


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(postgres_directory: Path, simulator: Simulator) -> Iterator[Service]:
    directory = postgres_directory / "crash-points"
    directory.mkdir(mode=0o755)
    service = Service(directory, simulator.url)
    service.start()
    yield service
    assert service.stop() == 0
    service.close()


def test_killed_while_it_checks_a_dataset(service: Service, tmp_path: Path) -> None:
    rows = make_rows("check", 4_000)
    service.stop()
    service.start(f"ingest.before_finish=hold:{tmp_path / 'never'}")
    with service.client() as client:
        job = client.create_job(client.upload_dataset(rows), base_model=MODEL)
        service.kill()
        assert job.state is JobState.VALIDATING
        service.start()
        ended = JobStory(client, job).finish()
        assert ended.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, ended, tmp_path), rows)


def test_killed_while_it_cancels(service: Service, simulator: Simulator, tmp_path: Path) -> None:
    simulator.ask("faults", {"on": ["hang"]})
    rows = make_rows("hung", 500)
    rows[10:20] = make_rows("hung", 20, words="fault:hang")[10:20]
    with service.client() as client:
        story = submit(client, rows)
        story.until(lambda job: job.counts.ended > 0 and job.counts.in_flight > 0)
        client.cancel_job(story.job_id)
        # The rows in flight never end, so it waits for them a while.
        assert client.get_job(story.job_id).state is JobState.CANCELLING
        service.kill()
        simulator.ask("faults", {"clear": True})
        service.start()
        ended = JobStory(client, story.job_id).finish()
        assert ended.state is JobState.CANCELLED
        assert ended.counts.cancelled >= 10
        files = download_files(client, ended, tmp_path)
        check_all_rows(files, rows)
        assert files.codes == {"batch_cancelled": ended.counts.cancelled}


def test_killed_while_it_writes_the_files(service: Service, tmp_path: Path) -> None:
    rows = make_rows("files", MANY)
    with service.client() as client:
        # Nobody hosts that model: all rows get their lines when the deadline passes, in a file of several parts.
        story = submit(client, rows, base_model="llama-2-13b", deadline=timedelta(hours=1))
        client.update_job(story.job_id, deadline=timedelta(seconds=0.2))
        story.until(lambda job: job.state is JobState.FINALIZING)
        service.kill()
        service.start()
        kills = 1
        while kills < 4 and client.get_job(story.job_id).state is JobState.FINALIZING:
            service.kill()
            kills += 1
            service.start()
        again = JobStory(client, story.job_id)
        ended = again.finish()
        assert ended.state is JobState.EXPIRED
        assert ended.counts.expired == MANY
        files = download_files(client, ended, tmp_path)
        check_all_rows(files, rows)
        assert files.codes == {"batch_expired": MANY}
        assert service.log.read_text().count(f'"{story.job_id}", "state": "EXPIRED"') == 1, "it ended before the kill"
