"""Rows that go from one server to another: chunks that come back, and rows that wait where others have nothing to do.

All of it is within one process and under the leases that it has. A chunk may be in parts at several servers; its lease
is given back only when none of them is at work on it.
"""

from collections.abc import Callable, Iterable

import structlog

from lorax_batch_scheduler.job import RUNNABLE_STATES
from lorax_batch_scheduler.packing import ServerView, take_back
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.ports.row_runner import RowRunner
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.work import ChunkWork

_log = structlog.get_logger()


class Handover:
    """Moves chunks and parts of them between the servers of a fleet."""

    def __init__(self, *, book: JobBook, fleet: Callable[[], Fleet], release: Callable[[LeasedChunk], None]) -> None:
        """`release`: give a lease back, once what is gathered under it is committed."""
        self._book = book
        self._fleet = fleet
        self._release = release
        self._returned: list[ChunkWork] = []

    def returned(self, work: ChunkWork) -> None:
        """Take note of a chunk, or a part of one, that a runner will not go on with."""
        self._returned.append(work)

    def give_on(self, *, stopping: bool = False) -> None:
        """Give what was returned to other servers of the family, or its lease back."""
        returned, self._returned = self._returned, []
        for work in returned:
            known = self._book.get(work.job_id)
            if known is None or not known.holds(work):
                if work.server_id:  # else it was released with the other parts of its chunk
                    self._release(work.lease)
                continue
            runner = None if stopping else self._move_elsewhere(work, known)
            if runner is not None:
                runner.give(work)
                continue
            work.server_id = ""
            if any(part.server_id and not part.is_over for part in known.works_of(work.lease.chunk_no)):
                self._returned.append(work)  # other servers are at work on the chunk: its lease is still needed
            else:
                known.take_back(work.lease.chunk_no)
                self._release(work.lease)

    def share(self, servers: Iterable[ServerView]) -> None:
        """Move rows that wait at busy servers to those of `servers` that have nothing to do."""
        queued = (rows for known in self._book.runnable for rows in known.queued())
        for move in take_back(servers, queued):
            rows, known = move.rows, self._book.get(move.rows.job.job_id)
            giver, taker = self._fleet().runner_of(rows.server_id), self._fleet().runner_of(move.server_id)
            if known is None or giver is None or taker is None:
                continue
            part = giver.split(known.works_of(rows.chunk_no)[rows.part], move.row_count)
            if part is not None:
                part.server_id = move.server_id
                known.give_out(part)
                taker.give(part)
                told = {"job_id": part.job_id, "chunk": rows.chunk_no, "rows": len(part.waiting) + part.in_flight}
                _log.info("rows_moved", **told, server=rows.server_id, to=move.server_id)

    def _move_elsewhere(self, work: ChunkWork, known: KnownJob) -> RowRunner | None:
        if known.job.state not in RUNNABLE_STATES:
            return None
        server_id = self._fleet().other_server(work, known, self._book)
        if server_id is None:
            return None
        work.withdrawn, work.server_id = False, server_id
        return self._fleet().runner_of(server_id)
