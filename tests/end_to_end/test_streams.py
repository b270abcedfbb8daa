"""What callers read while jobs run: result rows by dense offsets, events by sequence, both from where they stopped."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from lorax_batch_client import Client, JobSnapshot, JobState, JobStateChanged, ResultKind, ResultOrder

from tests.end_to_end.job_story import WatchCheck, submit
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)

ROWS = 1_200


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.05", "--max-concurrent-requests", "64") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulator: Simulator) -> Service:
    return serve(simulator.url)


def make_mixed_rows(tag: str) -> list[dict[str, object]]:
    """Return rows of which every tenth fails."""
    rows = make_rows(tag, ROWS)
    rows[::10] = make_rows(tag, ROWS, adapters=("missing/adapter",))[::10]
    return rows


def test_results_are_streamed_while_the_job_runs_and_from_any_offset(client: Client) -> None:
    rows = make_mixed_rows("stream")
    story = submit(client, rows)
    story.until_ended_rows(50)
    first = list(itertools.islice(client.results(story.job_id), 40))
    assert [row.offset for row in first] == list(range(40))
    assert not client.get_job(story.job_id).is_terminal, "it was too quick for this test"
    rest = list(client.results(story.job_id, after_offset=39))
    assert [row.offset for row in rest] == list(range(40, ROWS))
    assert {row.custom_id for row in first + rest} == {row["custom_id"] for row in rows}
    assert story.finish().state is JobState.SUCCEEDED
    assert list(client.results(story.job_id)) == first + rest
    errors = list(client.results(story.job_id, only=ResultKind.ERROR))
    assert errors == [row for row in first + rest if row.error is not None]
    assert len(errors) == ROWS // 10
    in_order = client.results(story.job_id, order=ResultOrder.INPUT)
    assert [row.custom_id for row in in_order] == [row["custom_id"] for row in rows]
    behind = client.results(story.job_id, order=ResultOrder.INPUT, after_offset=ROWS - 11)
    assert [row.custom_id for row in behind] == [row["custom_id"] for row in rows[-10:]]


def test_a_watch_goes_on_behind_any_sequence_without_a_gap(client: Client) -> None:
    story = submit(client, make_rows("watch", ROWS))
    assert story.finish().state is JobState.SUCCEEDED
    full = [
        event
        for event in client.watch(story.job_id, after_sequence=story.check.sequence - 4)
        if isinstance(event, JobStateChanged)
    ]
    assert [event.to_state for event in full] == [
        JobState.STARTING,
        JobState.RUNNING,
        JobState.FINALIZING,
        JobState.SUCCEEDED,
    ]
    for place, event in enumerate(full[:-1]):
        check = WatchCheck()
        check.sequence = event.sequence
        for later in client.watch(story.job_id, after_sequence=event.sequence):
            check.take(later)
        assert check.states == [later.to_state for later in full[place + 1 :]]


def test_a_watch_of_all_jobs_tells_every_state_change_once(client: Client) -> None:
    before = submit(client, make_rows("before", 10)).finish()
    checks: dict[str, WatchCheck] = {}
    stories = [submit(client, make_rows(f"all{number}", 300)) for number in range(3)]
    sequences = []
    for event in client.watch(after_sequence=before.sequence):
        assert not isinstance(event, JobSnapshot)
        job_id = event.job_id if not hasattr(event, "job") else event.job.job_id
        check = checks.setdefault(job_id, WatchCheck())
        check.sequence = check.sequence or 1
        check.take(event)
        if isinstance(event, JobStateChanged):
            sequences.append(event.sequence)
        if len(checks) == 3 and all(check.job is not None and check.job.is_terminal for check in checks.values()):
            break
    assert sequences == list(range(before.sequence + 1, before.sequence + 1 + len(sequences)))
    assert checks.keys() == {story.job_id for story in stories}
    for story in stories:
        assert story.finish().state is JobState.SUCCEEDED


def test_a_snapshot_of_an_ended_job_is_all_that_its_watch_tells(client: Client) -> None:
    job = submit(client, make_rows("ended", 10)).finish()
    (only,) = client.watch(job)
    assert isinstance(only, JobSnapshot)
    assert only.job == job
