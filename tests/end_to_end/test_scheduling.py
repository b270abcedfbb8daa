"""Which rows run where: families, priorities, servers that are not there."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client, JobState

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)

SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "32")
LLAMA = "llama-2-7b"
LATE = "zephyr-7b-beta"


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Simulator]]:
    """Two servers of one family."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        yield [one, two]


@pytest.fixture(scope="module")
def single() -> Iterator[Simulator]:
    with Simulator(*SLOW, "--model-id", "meta-llama/Llama-2-7b-hf") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def late_port() -> Iterator[int]:
    """A port that nobody listens on until a test does; bound, so that nobody else gets it meanwhile."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], pair: list[Simulator], single: Simulator, late_port: int) -> Service:
    return serve(*(one.url for one in pair), single.url, f"http://127.0.0.1:{late_port},model={LATE}")


def test_the_job_of_higher_priority_overtakes(client: Client) -> None:
    low = submit(client, make_rows("low", 4_000), base_model=LLAMA)
    low.until_ended_rows(50)
    high = submit(client, make_rows("high", 300), base_model=LLAMA, priority=10)
    assert high.finish().state is JobState.SUCCEEDED
    before = client.get_job(low.job_id)
    assert before.state is JobState.RUNNING
    assert before.counts.ended < 3_000
    client.cancel_job(low.job_id)
    low.finish()


def test_a_changed_priority_takes_effect(client: Client) -> None:
    first = submit(client, make_rows("first", 4_000), base_model=LLAMA)
    second = submit(client, make_rows("second", 600), base_model=LLAMA, priority=-1)
    third = submit(client, make_rows("third", 900), base_model=LLAMA, priority=-2)
    first.until_ended_rows(50)
    assert client.update_job(third.job_id, priority=5).priority == 5
    assert third.finish().state is JobState.SUCCEEDED
    assert client.get_job(first.job_id).counts.ended < 3_000
    assert client.get_job(second.job_id).counts.ended == 0
    for story in (first, second):
        client.cancel_job(story.job_id)
        story.finish()


def test_jobs_of_one_family_run_side_by_side_on_one_server(client: Client, single: Simulator, tmp_path: Path) -> None:
    single.ask("faults", {"on": ["wedge"]})
    rows = {tag: make_rows(tag, 5) for tag in ("left", "middle", "right")}
    stories = {tag: submit(client, rows[tag], base_model=LLAMA) for tag in rows}
    for story in stories.values():
        story.until(lambda job: job.counts.in_flight == 5)
    assert single.ask("stats")["permits_taken"] == 15
    single.ask("faults", {"clear": True})
    for tag, story in stories.items():
        job = story.finish()
        assert job.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, job, tmp_path), rows[tag])


def test_several_servers_share_a_job(client: Client, pair: list[Simulator], tmp_path: Path) -> None:
    rows = make_rows("shared", 3_000, adapters=("", "org/a", "org/b"))
    job = submit(client, rows).finish()
    assert job.counts.succeeded == 3_000
    check_all_rows(download_files(client, job, tmp_path), rows)
    answered = [one.ask("stats")["rows_answered"] for one in pair]
    assert sum(answered) == 3_000
    assert min(answered) > 500


def test_a_job_of_one_chunk_runs_on_all_servers_of_its_family(
    client: Client, pair: list[Simulator], tmp_path: Path
) -> None:
    before = [one.ask("stats")["rows_answered"] for one in pair]
    rows = make_rows("single", 900)
    job = submit(client, rows).finish()
    check_all_rows(download_files(client, job, tmp_path), rows)
    answered = [one.ask("stats")["rows_answered"] - count for one, count in zip(pair, before, strict=True)]
    assert sum(answered) == 900
    assert min(answered) > 0


def test_a_job_that_no_server_can_run_waits_with_the_reason_while_others_run(client: Client) -> None:
    waiting = submit(client, make_rows("alone", 10), base_model="llama-2-13b")
    told = waiting.until(lambda job: bool(job.reason))
    assert told.state is JobState.QUEUED
    assert "none hosts it" in told.reason
    assert told.queue_position >= 1
    assert submit(client, make_rows("other", 100)).finish().state is JobState.SUCCEEDED
    still = client.get_job(waiting.job_id)
    assert (still.state, still.counts.pending) == (JobState.QUEUED, 10)
    client.cancel_job(waiting.job_id)
    waiting.finish()


def test_a_job_waits_for_a_server_that_does_not_answer_yet(client: Client, late_port: int, tmp_path: Path) -> None:
    rows = make_rows("late", 100)
    story = submit(client, rows, base_model=LATE)
    told = story.until(lambda job: bool(job.reason))
    assert told.state is JobState.QUEUED
    (silent,) = (server for server in client.list_servers() if str(late_port) in server.url)
    assert silent.server_id in told.reason
    assert str(late_port) not in told.reason
    with Simulator(*SLOW, "--port", str(late_port), "--model-id", "HuggingFaceH4/zephyr-7b-beta"):
        job = story.finish()
        assert job.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, job, tmp_path), rows)
    again = JobStory(client, client.create_job(job.dataset_id, base_model=LATE))
    poll_until(lambda: client.get_job(again.job_id), lambda job: job.state is JobState.QUEUED)
    client.cancel_job(again.job_id)
    assert again.finish().counts.cancelled == 100
