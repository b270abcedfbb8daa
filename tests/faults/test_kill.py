"""Whatever is killed, and whenever: every row has exactly one result."""

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client, JobState

from tests.end_to_end.job_story import WatchCheck
from tests.processes import Service, Simulator, read_ids, write_rows

ROWS = 8_000
KILLS = 4
SLOW = ("--time-scale", "0.2", "--cold-start", "10", "--max-concurrent-requests", "128")


@pytest.fixture
def simulators() -> Iterator[list[Simulator]]:
    with (
        Simulator(*SLOW) as one,
        Simulator(*SLOW) as two,
    ):
        yield [one, two]


@pytest.fixture
def service(postgres_directory: Path, tmp_path: Path, simulators: list[Simulator]) -> Iterator[Service]:
    directory = postgres_directory / tmp_path.name
    directory.mkdir(mode=0o755)
    service = Service(directory, *(simulator.url for simulator in simulators))
    yield service
    service.close()
    print(service.log.read_text()[-9000:])  # pytest shows it when the test failed


def submit(client: Client, directory: Path) -> tuple[str, set[str]]:
    ids = write_rows(directory / "rows.jsonl", ROWS)
    dataset = client.upload_dataset(directory / "rows.jsonl")
    job = client.create_job(dataset.dataset_id, base_model="mistral-7b-instruct-v0-2")
    return job.job_id, ids


def wait_for_rows(client: Client, job_id: str, count: int) -> bool:
    """Return when the job has so many results; False when it has ended before."""
    check = WatchCheck()
    for event in client.watch(job_id):
        job = check.take(event)
        if job.is_terminal:
            return False
        if job.counts.ended >= count:
            return True
    return False


def finish(client: Client, job_id: str, directory: Path) -> list[str]:
    """Wait for the end, check the counts, and return the ids of all result lines."""
    job = client.wait(job_id)
    assert job.state is JobState.SUCCEEDED, job
    counts = job.counts
    assert (counts.total, counts.ended) == (ROWS, ROWS)
    assert counts.in_flight == counts.retrying == counts.pending == 0
    client.download(job_id, directory / "out.jsonl", errors=directory / "err.jsonl")
    return read_ids(directory / "out.jsonl", directory / "err.jsonl")


def calls(simulators: list[Simulator]) -> int:
    return sum(simulator.ask("stats")["rows_received"] for simulator in simulators)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_service_is_killed_at_random_moments(
    seed: int, service: Service, simulators: list[Simulator], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    service.start()
    kills = 0
    with service.client() as client:
        job_id, ids = submit(client, tmp_path)
        marks = sorted(chance.randrange(1, ROWS - 1000) for _ in range(KILLS))
        for mark in marks:
            if not wait_for_rows(client, job_id, mark):
                break
            service.kill()
            kills += 1
            service.start()
        found = finish(client, job_id, tmp_path)
    assert kills >= 2, "the job was too quick to be killed in"
    assert Counter(found) == Counter(ids)
    # At least once is fine, but not more than was in flight or gathered at each kill.
    assert calls(simulators) - ROWS <= kills * (256 + 2_000)
    assert service.stop() == 0


@pytest.mark.timeout(90)
def test_postgresql_is_killed_under_a_running_job(
    service: Service, simulators: list[Simulator], tmp_path: Path
) -> None:
    service.start()
    with service.client() as client:
        job_id, ids = submit(client, tmp_path)
        for mark in (500, 2_500):
            assert wait_for_rows(client, job_id, mark)
            os.kill(service.postgres_pid(), signal.SIGKILL)
        found = finish(client, job_id, tmp_path)
        assert Counter(found) == Counter(ids)
        assert calls(simulators) == ROWS


@pytest.mark.timeout(90)
def test_a_server_is_aborted_and_comes_back_cold(service: Service, simulators: list[Simulator], tmp_path: Path) -> None:
    service.start()
    with service.client() as client:
        job_id, ids = submit(client, tmp_path)
        assert wait_for_rows(client, job_id, 500)
        simulators[0].ask("abort", {})
        found = finish(client, job_id, tmp_path)
        job = client.get_job(job_id)
        assert job.counts.failed == 0
        assert Counter(found) == Counter(ids)
        assert simulators[0].ask("stats")["restarts"] == 1


@pytest.mark.timeout(90)
def test_a_stopped_service_hands_its_rows_back_and_repeats_none(
    service: Service, simulators: list[Simulator], tmp_path: Path
) -> None:
    service.start()
    with service.client() as client:
        job_id, ids = submit(client, tmp_path)
        assert wait_for_rows(client, job_id, 1_000)
        assert service.stop() == 0
        service.start()
        found = finish(client, job_id, tmp_path)
    assert Counter(found) == Counter(ids)
    assert calls(simulators) == ROWS
    assert service.stop() == 0
