"""Servers that fail in the ways that LoRAX fails: a bad row costs itself, a bad moment costs nothing."""

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
    with Simulator("--time-scale", "0.05", "--max-concurrent-requests", "64", "--cold-start", "2") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], server: Simulator) -> Service:
    return serve(server.url, settings="stall_after_s = 1.0")


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


def answers(simulator: Simulator, status: int) -> int:
    counted: int = simulator.ask("stats")["rows_by_status"].get(str(status), 0)
    return counted


@pytest.mark.parametrize("fault", ["poison", "reset", "plain-text-422"])
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


def test_a_server_that_refuses_most_calls_gets_all_rows_in_the_end(
    client: Client, simulator: Simulator, tmp_path: Path
) -> None:
    before = answers(simulator, 429)
    simulator.ask("faults", {"on": ["low-permits=4"]})
    job, _ = run(client, make_rows("busy", 200), tmp_path)
    assert job.counts.failed == 0
    assert 0 < answers(simulator, 429) - before < 2_000


def test_a_server_out_of_memory_gets_fewer_rows_at_a_time(client: Client, simulator: Simulator, tmp_path: Path) -> None:
    before = answers(simulator, 424)
    simulator.ask("faults", {"on": ["oom=2"]})
    job, _ = run(client, make_rows("memory", 200), tmp_path)
    assert job.counts.failed == 0
    assert answers(simulator, 424) > before


def test_a_wedged_server_whose_health_is_green_is_freed(client: Client, simulator: Simulator, tmp_path: Path) -> None:
    simulator.ask("faults", {"on": ["wedge=100"]})
    job, _ = run(client, make_rows("wedged", 400), tmp_path)
    assert job.counts.failed == 0
    received = simulator.ask("requests")["received"]
    resent = sum(received[key_of("wedged", number)] for number in range(400)) - 400
    assert resent > 0, "it never wedged"


def test_a_server_that_dies_again_and_again_finishes_the_job(
    client: Client, simulator: Simulator, tmp_path: Path
) -> None:
    before = simulator.ask("stats")["restarts"]
    simulator.ask("faults", {"on": ["router-abort=150"]})
    job, _ = run(client, make_rows("abort", 400), tmp_path)
    assert job.counts.failed == 0
    assert simulator.ask("stats")["restarts"] > before
