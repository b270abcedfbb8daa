"""Servers that break, die, wedge or refuse: jobs wait or go on elsewhere, and no row is blamed for it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lorax_batch_client import ServerState

from tests.end_to_end.job_story import submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.rows import make_rows
from tests.faults.lorax_stage import IN_FLIGHT, LIMITS, Stage
from tests.processes import Simulator

pytestmark = pytest.mark.timeout(60)

TWO_CHUNKS = ("", "org/other")
"""A chunk has rows of one adapter: with two of them both servers get rows."""
BOTH = 2 * IN_FLIGHT


@pytest.fixture(scope="module")
def whole_stage(postgres_directory: Path) -> Iterator[Stage]:
    with (
        Simulator(*LIMITS, "--time-scale", "0.1") as one,
        Simulator(*LIMITS, "--time-scale", "0.1") as two,
        Stage(postgres_directory / "lorax-bad-servers", one, two, settings="stall_after_s = 1.0") as stage,
    ):
        yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    with whole_stage.scene():
        yield whole_stage


def servers_in(stage: Stage, state: ServerState) -> list[str]:
    """Return why the servers in that state are in it."""
    return [server.reason for server in stage.client.list_servers() if server.state is state]


def hangs(stage: Stage) -> list[int]:
    """Return how many rows each server has never answered."""
    return [simulator.ask("stats")["faults_fired"].get("hang", 0) for simulator in stage.simulators]


def repeated(stage: Stage, tag: str) -> int:
    """Return how many calls so far were not a row's first."""
    calls = stage.calls(tag)
    return calls.total() - len(calls)


@pytest.mark.parametrize("lies", [False, True], ids=["health-red", "health-green"])
def test_a_server_whose_gpu_is_lost_is_left_alone_until_it_restarts(lies: bool, stage: Stage, tmp_path: Path) -> None:
    """After a device-side assert every row fails: the other server goes on, no row is blamed, whatever health says."""
    before, tag = stage.fired("cuda-assert"), f"assert{lies:d}"
    rows = make_rows(tag, 1_500, max_tokens=60)
    story = submit(stage.client, rows)
    story.until_ended_rows(100)
    stage.misbehave("cuda-assert", *(["health-green"] if lies else []), at=0)
    poll_until(lambda: stage.fired("cuda-assert"), lambda count: count > before)
    if not lies:
        (reason,) = poll_until(lambda: servers_in(stage, ServerState.SUSPECT), bool)
        assert "device-side assert" in reason
    ended = story.until(lambda job: job.counts.ended > 100).counts.ended
    story.until_ended_rows(ended + 200)
    assert stage.fired("cuda-assert") - before <= 12
    stage.simulators[0].ask("abort", {})
    _, files = stage.finish(story, tag, rows, tmp_path, repeats=2 * BOTH)
    assert not files.errors


def test_servers_that_abort_again_and_again_lose_no_row_of_any_job(stage: Stage, tmp_path: Path) -> None:
    """Rows of several jobs and adapters that were in flight at many aborts all succeed; adapters are loaded anew."""
    before, loads = stage.stats("restarts"), stage.stats("adapter_loads")
    stage.misbehave("router-abort=150")
    stage.misbehave("shard-crash=120", at=1)
    data = {tag: make_rows(tag, 350, adapters=adapters) for tag, adapters in (("red", ("", "org/a")), ("blue", ("",)))}
    stories = {tag: submit(stage.client, rows) for tag, rows in data.items()}
    for tag, rows in data.items():
        _, files = stage.finish(stories[tag], tag, rows, tmp_path, repeats=6 * BOTH)
        assert not files.errors
    assert stage.stats("restarts") - before >= 3
    assert stage.fired("router-abort") >= 1
    assert stage.fired("shard-crash") >= 1
    assert stage.stats("adapter_loads") - loads >= 2


def test_all_servers_away_at_once_only_delay_a_job(stage: Stage, tmp_path: Path) -> None:
    """When every server restarts at the same time the job goes on where it was, and no attempt is charged."""
    before, hung = stage.stats("restarts"), hangs(stage)
    stage.misbehave("hang")
    rows = make_rows("away", 800, adapters=TWO_CHUNKS, max_tokens=60)
    # However late the test comes to it, both servers have rows in flight when they go.
    rows[200:] = make_rows("away", 800, adapters=TWO_CHUNKS, max_tokens=60, words="fault:hang")[200:]
    story = submit(stage.client, rows)
    story.until_ended_rows(100)
    poll_until(lambda: hangs(stage), lambda now: all(now[each] > hung[each] for each in (0, 1)))
    stage.behave("hang")
    resent, log = repeated(stage, "away"), stage.service.log.stat().st_size
    for simulator in stage.simulators:
        simulator.ask("abort", {})
    _, files = stage.finish(story, "away", rows, tmp_path, repeats=resent + BOTH)
    assert not files.errors
    assert stage.stats("restarts") - before == 2
    said = stage.service.log.read_bytes()[log:]
    assert said.count(b"server_unreachable") == 2
    assert b"server_stalled" not in said, "a server that is back is not stalled"


@pytest.mark.parametrize("fault", ["wedge=100", "wedge"])
def test_a_wedged_server_whose_health_is_green_is_freed(fault: str, stage: Stage, tmp_path: Path) -> None:
    """A server that admits no row any more is noticed; its oldest rows, and if need be all, are sent anew."""
    before, tag = stage.fired("wedge"), f"stuck{len(fault)}"
    rows = make_rows(tag, 400)
    stage.misbehave(fault)
    story = submit(stage.client, rows)
    poll_until(lambda: stage.fired("wedge"), lambda count: count > before)
    if fault == "wedge":
        # It would last for ever: let the watchdog come twice.
        poll_until(lambda: stage.calls(tag).total(), lambda count: count > len(stage.calls(tag)))
        stage.behave("wedge")
    _, files = stage.finish(story, tag, rows, tmp_path, repeats=4 * BOTH)
    assert not files.errors
    assert stage.calls(tag).total() > 400, "nothing was sent anew"


def test_a_sharp_drop_of_permits_costs_few_refusals_and_is_forgotten_soon(stage: Stage, tmp_path: Path) -> None:
    """Servers that take 8 rows instead of 64 refuse fewer than a tenth as many, and are full again in seconds."""
    before = stage.answers(429)
    rows = make_rows("permits", 3_000, adapters=TWO_CHUNKS, max_tokens=60)
    story = submit(stage.client, rows)
    ended = story.until_ended_rows(200).counts.ended
    stage.misbehave("low-permits=8")
    now_ended = story.until_ended_rows(ended + 400).counts.ended
    refused = stage.answers(429) - before
    assert 0 < refused <= 0.1 * (now_ended - ended)
    stage.behave("low-permits")
    began = time.monotonic()
    limits = poll_until(
        lambda: [server.in_flight_limit for server in stage.client.list_servers()],
        lambda limits: min(limits) >= 0.9 * IN_FLIGHT,
    )
    print(f"permits: {refused} refusals; {limits} rows again after {time.monotonic() - began:.1f} s")
    _, files = stage.finish(story, "permits", rows, tmp_path, repeats=stage.answers(429) - before + IN_FLIGHT)
    assert not files.errors


def test_a_proxy_that_answers_503_costs_no_row(stage: Stage, tmp_path: Path) -> None:
    """While a proxy says that it has no server, rows wait or go to the other server, and none fails."""
    before = stage.fired("unavailable")
    stage.misbehave("unavailable=", at=0)
    rows = make_rows("proxy", 400, adapters=TWO_CHUNKS)
    story = submit(stage.client, rows)
    poll_until(lambda: stage.fired("unavailable") - before, lambda count: count > 1)
    story.until_ended_rows(100)
    stage.behave("unavailable")
    _, files = stage.finish(story, "proxy", rows, tmp_path, repeats=2 * BOTH)
    assert not files.errors


def test_health_that_is_overloaded_or_slow_makes_no_server_suspect(stage: Stage, tmp_path: Path) -> None:
    """A stalled server is freed whether its health is slow to answer, or the 500 `overloaded` of old versions."""
    before = stage.fired("health-overloaded"), stage.fired("slow-health")
    stage.misbehave("wedge=60", "health-overloaded", at=0)
    stage.misbehave("wedge=60", "slow-health=20", at=1)
    rows = make_rows("health", 400, adapters=TWO_CHUNKS)
    _, files = stage.run("health", rows, tmp_path, repeats=4 * BOTH)
    assert not files.errors
    assert stage.fired("health-overloaded") > before[0]
    assert stage.fired("slow-health") > before[1]
    assert servers_in(stage, ServerState.SUSPECT) == []
