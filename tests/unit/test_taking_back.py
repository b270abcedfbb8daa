"""Which rows go from a server that has more than enough to one that has nothing to do."""

from datetime import UTC, datetime

import pytest
from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.packing import QueuedRows, ServerView, WaitingJob, take_back
from lorax_batch_scheduler.packing.taking_back import LEAST_ROWS

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
    holds: int = 1_000,
    state: ServerState = ServerState.READY,
) -> ServerView:
    return ServerView(
        server_id=server_id,
        state=state,
        reason="",
        base_model_id="m",
        family=family,
        wanted_rows=wanted,
        load=queued / holds + fullness,
        queued_rows=queued,
        fullness=fullness,
    )


def rows(chunk_no: int, at: str, count: int = 1_000, *, refused_by: str = "") -> QueuedRows:
    refused = frozenset(filter(None, [refused_by]))
    return QueuedRows(server_id=at, job=JOB, chunk_no=chunk_no, row_count=count, refused_by=refused)


def moves(servers: list[ServerView], queued: list[QueuedRows]) -> list[tuple[int, str, int]]:
    return [(move.rows.chunk_no, move.server_id, move.row_count) for move in take_back(servers, queued)]


BUSY = server("busy", fullness=1.0, queued=1_000)
IDLE = server("idle", fullness=0.1)


def test_half_of_what_the_server_with_most_has_queued_goes_to_the_one_with_nothing() -> None:
    less = server("less", fullness=1.0, queued=300)
    assert moves([BUSY, less, IDLE], [rows(1, "less", 300), rows(2, "busy", 900)]) == [(2, "idle", 500)]


def test_it_is_of_one_chunk_of_which_a_row_stays() -> None:
    assert moves([BUSY, IDLE], [rows(1, "busy", 600), rows(2, "busy", 400)]) == [(1, "idle", 500)]
    assert moves([BUSY, IDLE], [rows(n, "busy", 200) for n in range(5)]) == [(4, "idle", 199)]


def test_of_each_server_one_takes() -> None:
    dry, less = server("dry", fullness=0.0), server("less", fullness=1.0, queued=300)
    queued = [rows(1, "busy"), rows(2, "less", 300)]
    assert moves([BUSY, IDLE, dry], queued) == [(1, "dry", 500)]
    assert moves([BUSY, less, IDLE, dry], queued) == [(1, "dry", 500), (2, "idle", 150)]


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
    assert moves([BUSY, other], [rows(1, "busy")]) == []


def test_nothing_is_taken_that_is_about_to_be_sent_or_was_refused_or_is_little() -> None:
    assert moves([server("busy", fullness=0.4, queued=900), IDLE], [rows(1, "busy")]) == []
    assert moves([BUSY, IDLE], [rows(1, "busy", refused_by="idle"), rows(2, "gone")]) == []
    assert moves([server("busy", fullness=1.0, queued=LEAST_ROWS), IDLE], [rows(1, "busy", LEAST_ROWS)]) == []


def test_a_server_that_holds_few_rows_gives_up_half_of_a_short_queue() -> None:
    few = server("few", fullness=1.0, queued=16, holds=4)
    assert moves([few, IDLE], [rows(1, "few", 16)]) == [(1, "idle", 8)]
    assert moves([few, IDLE], [rows(1, "few", 1)]) == []
    assert moves([server("few", fullness=1.0, queued=3, holds=4), IDLE], [rows(1, "few", 3)]) == []
