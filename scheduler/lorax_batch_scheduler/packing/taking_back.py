"""Decides which rows a server gives up to another that has nothing to do: a pure function, as `give` is.

Servers are given chunks ahead of time. Near the end of a family's work one of them runs dry while another has rows
queued; without this it would stand idle for as long as the other takes over the rest of a chunk.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.packing.giving import ServerView, WaitingJob, serves

BUSY: Final = 0.5
"""A server less full than this has room for what is queued at it, and one with nothing queued could do more."""
LEAST_ROWS: Final = 16
"""Fewer are not worth it: they are sent before long ..."""
LONG_QUEUE: Final = 2.0
"""... unless a server has so many times what it holds: with few rows at a time, each of them long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRows:
    """Rows of a chunk that a server was given and has not sent."""

    server_id: str
    job: WaitingJob
    chunk_no: int
    part: int = 0
    """Which of the parts that the chunk is in, in the order of `KnownJob.works_of`."""
    row_count: int
    refused_by: frozenset[str] = frozenset()
    """Servers that will not run them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRows:
    """Take so many of these rows back, and give them to another server."""

    rows: QueuedRows
    server_id: str
    row_count: int


def take_back(servers: Iterable[ServerView], queued: Iterable[QueuedRows]) -> list[MoveRows]:
    """Return what to move, at most once to each server that has nothing to do and from each that has most.

    Half of what a server has queued goes, as far as it is of one chunk. That server is busy and stays so, and who takes
    the rows sends of them at once: so none wander to and fro.
    """
    by_id = {server.server_id: server for server in servers if server.state is ServerState.READY}
    takers = sorted(filter(_is_idle, by_id.values()), key=lambda server: (server.load, server.server_id))
    if not takers:
        return []
    offered = [rows for rows in queued if _is_worth_it(rows, by_id.get(rows.server_id))]
    moves: list[MoveRows] = []
    for taker in takers:
        fitting = [
            (by_id[rows.server_id].queued_rows, rows.row_count, place)
            for place, rows in enumerate(offered)
            if serves(taker, rows.job) and taker.server_id not in rows.refused_by
        ]
        if fitting:
            at_server, row_count, place = max(fitting)
            rows = offered[place]
            count = min(row_count - 1, max(at_server // 2, _least(by_id[rows.server_id])))
            moves.append(MoveRows(rows=rows, server_id=taker.server_id, row_count=count))
            offered = [each for each in offered if each.server_id != rows.server_id]
    return moves


def _is_worth_it(rows: QueuedRows, server: ServerView | None) -> bool:
    return server is not None and server.fullness >= BUSY and rows.row_count > _least(server)


def _least(server: ServerView) -> int:
    return 1 if server.load >= LONG_QUEUE else LEAST_ROWS


def _is_idle(server: ServerView) -> bool:
    return server.wanted_rows > 0 and not server.queued_rows and server.fullness < BUSY
