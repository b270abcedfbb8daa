"""Which chunks go from a server that has more than enough to one that has nothing to do."""

from datetime import UTC, datetime

import pytest
from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.packing import ServerView, UnsentChunk, WaitingJob, take_back

JOB = WaitingJob(
    job_id="j", base_model_id="m", priority=0, create_time=datetime(2026, 1, 1, tzinfo=UTC), rows=(), family="f"
)


def server(
    server_id: str,
    *,
    fullness: float,
    queued: int = 0,
    family: str = "f",
    wanted: int = 256,
    state: ServerState = ServerState.READY,
) -> ServerView:
    return ServerView(
        server_id=server_id,
        url=f"http://{server_id}",
        state=state,
        reason="",
        base_model_id="m",
        family=family,
        wanted_rows=wanted,
        load=fullness,
        queued_rows=queued,
        fullness=fullness,
    )


def chunk(number: int, at: str, *, refused_by: str = "") -> UnsentChunk:
    return UnsentChunk(server_id=at, job=JOB, chunk_no=number, refused_by=frozenset(filter(None, [refused_by])))


BUSY = server("busy", fullness=1.0, queued=2_000)
IDLE = server("idle", fullness=0.1)


def test_the_last_chunk_of_the_server_with_most_queued_goes_to_the_one_with_nothing() -> None:
    less = server("less", fullness=1.0, queued=1_000)
    chunks = [chunk(1, "busy"), chunk(2, "busy"), chunk(3, "less")]
    assert take_back([BUSY, less, IDLE], chunks) == [chunk(2, "busy")]


def test_each_server_that_has_nothing_gets_another_chunk() -> None:
    chunks = [chunk(1, "busy"), chunk(2, "busy"), chunk(3, "busy")]
    assert take_back([BUSY, IDLE, server("dry", fullness=0.0)], chunks) == [chunk(3, "busy"), chunk(2, "busy")]


@pytest.mark.parametrize(
    "other",
    [
        server("other", fullness=0.6),
        server("other", fullness=0.1, queued=1),
        server("other", fullness=0.1, wanted=0),
        server("other", fullness=0.1, family="g"),
        server("other", fullness=0.1, state=ServerState.SUSPECT),
    ],
    ids=["still busy", "has rows", "wants none", "of another family", "not well"],
)
def test_others_take_nothing(other: ServerView) -> None:
    assert take_back([BUSY, other], [chunk(1, "busy")]) == []


def test_nothing_is_taken_from_a_server_that_is_about_to_send_it_or_for_one_that_refused_it() -> None:
    assert take_back([server("busy", fullness=0.4, queued=900), IDLE], [chunk(1, "busy")]) == []
    assert take_back([BUSY, IDLE], [chunk(1, "busy", refused_by="idle"), chunk(2, "gone")]) == []
