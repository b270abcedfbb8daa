"""Rows that the server refuses, or that fail once. What harms others is in `tests/faults/test_lorax_*.py`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client, Job, JobState

from tests.end_to_end.job_story import submit
from tests.end_to_end.result_files import ResultFiles, check_all_rows, download_files
from tests.end_to_end.rows import Row, key_of, make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)

BAD = 77
"""The row that calls for the fault."""


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.05", "--max-concurrent-requests", "64") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], server: Simulator) -> Service:
    return serve(server.url)


@pytest.fixture
def simulator(server: Simulator) -> Iterator[Simulator]:
    yield server
    server.ask("faults", {"clear": True})


def rows_with_a_bad_one(tag: str, count: int, words: str) -> list[Row]:
    rows = make_rows(tag, count)
    rows[BAD] = make_rows(tag, BAD + 1, words=words)[BAD]
    return rows


def run(client: Client, rows: list[Row], folder: Path) -> tuple[Job, ResultFiles]:
    """Run a job to its end, in which it succeeds, and check its files."""
    job = submit(client, rows).finish()
    assert job.state is JobState.SUCCEEDED
    files = download_files(client, job, folder)
    check_all_rows(files, rows)
    return job, files


@pytest.mark.parametrize("fault", ["reset", "plain-text-422"])
def test_a_bad_row_fails_alone(fault: str, client: Client, simulator: Simulator, tmp_path: Path) -> None:
    simulator.ask("faults", {"on": [fault]})
    tag = fault.replace("-", "")
    job, files = run(client, rows_with_a_bad_one(tag, 400, f"fault:{fault}"), tmp_path)
    assert job.counts.failed == 1
    assert files.errors.keys() == {BAD + 1}
    received = simulator.ask("requests")["received"]
    assert 1 <= received[key_of(tag, BAD)] <= 10
    assert sum(received[key_of(tag, number)] for number in range(400)) < 1_200, "good rows were sent too often"


def test_a_row_that_fails_once_is_sent_again(client: Client, simulator: Simulator, tmp_path: Path) -> None:
    simulator.ask("faults", {"on": ["flaky"]})
    job, _ = run(client, rows_with_a_bad_one("flaky", 200, "fault:flaky"), tmp_path)
    assert job.counts.failed == 0
    assert simulator.ask("requests")["received"][key_of("flaky", BAD)] == 2
