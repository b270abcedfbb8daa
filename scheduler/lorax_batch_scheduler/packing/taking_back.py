"""Decides which chunks a server gives up to another that has nothing to do: a pure function, as `give` is.

Servers are given chunks ahead of time. Near the end of a family's work one of them runs dry while another has chunks
queued that it has not begun; what it has begun stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.packing.giving import ServerView, WaitingJob, serves

BUSY: Final = 0.5
"""A server less full than this has room for what is queued at it, and one with nothing queued could do more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsentChunk:
    """A chunk that a server was given and none of whose rows it has sent."""

    server_id: str
    job: WaitingJob
    chunk_no: int
    refused_by: frozenset[str] = frozenset()
    """Servers that will not run it."""


def take_back(servers: Iterable[ServerView], chunks: Iterable[UnsentChunk]) -> list[UnsentChunk]:
    """Return the chunks to take back, one for each server that has nothing to do; `chunks` in the order given.

    The last one of the server with most rows queued goes. That server is busy and stays so, and who takes the chunk
    sends of it at once: so none wanders to and fro.
    """
    by_id = {server.server_id: server for server in servers if server.state is ServerState.READY}
    takers = sorted(filter(_is_idle, by_id.values()), key=lambda server: (server.load, server.server_id))
    if not takers:
        return []
    offered = [chunk for chunk in chunks if _is_busy(by_id.get(chunk.server_id))]
    taken: list[UnsentChunk] = []
    for idle in takers:
        fitting = [
            (by_id[chunk.server_id].queued_rows, place, chunk)
            for place, chunk in enumerate(offered)
            if chunk not in taken and serves(idle, chunk.job) and idle.server_id not in chunk.refused_by
        ]
        if fitting:
            taken.append(max(fitting, key=lambda each: each[:2])[2])
    return taken


def _is_busy(server: ServerView | None) -> bool:
    return server is not None and server.fullness >= BUSY


def _is_idle(server: ServerView) -> bool:
    return server.wanted_rows > 0 and not server.queued_rows and server.fullness < BUSY
