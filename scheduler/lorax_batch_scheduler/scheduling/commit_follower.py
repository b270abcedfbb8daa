"""What follows from commits: rows are counted and learned from, chunks are done, lost or given back."""

from collections.abc import Callable

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.ports.lease import JobActivity, LeasedChunk
from lorax_batch_scheduler.scheduling.committer import Committed
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.job_book import JobBook
from lorax_batch_scheduler.scheduling.job_traces import JobTraces
from lorax_batch_scheduler.scheduling.learner import Learner

_log = structlog.get_logger()


class CommitFollower:
    """Keeps the book in step with what is stored."""

    def __init__(
        self,
        *,
        book: JobBook,
        fleet: Callable[[], Fleet],
        release: Callable[[LeasedChunk], None],
        on_complete: Callable[[str], None],
        clock: Clock,
        traces: JobTraces,
    ) -> None:
        """`release`: give a lease back. `on_complete(job_id)`: every row of a job has its result."""
        self._book = book
        self._fleet = fleet
        self._release = release
        self._on_complete = on_complete
        self._clock = clock
        self._traces = traces
        self.learner: Learner | None = None

    def committed(self, committed: Committed) -> None:
        """Results were stored."""
        now = self._clock.monotonic()
        if self.learner is not None:
            self.learner.rows_committed(committed, self._book)
        for job_id, rows in committed.rows.items():
            known = self._book.get(job_id)
            if known is not None:
                known.rows.add(rows, now)
                known.tokens.add(committed.tokens.get(job_id, 0), now)
                self._traces.committed(known.job, rows, committed.seconds)
        for lease in committed.leases:
            known = self._book.get(lease.job_id)
            if known is not None and lease.done.bit_count() == lease.row_count:
                works = known.take_back(lease.chunk_no)
                self._traces.chunk_done(known.job, works[0] if works else None)
        for lease in (*committed.lost, *committed.released):
            known = self._book.get(lease.job_id)
            if known is not None:
                known.left_is_stale = True
        for lease in committed.lost:
            self._drop(lease)
        for job_id in committed.complete_jobs:
            self._on_complete(job_id)

    def _drop(self, lease: LeasedChunk) -> None:
        """Somebody else runs this chunk now: send no more of its rows, and give back what may be left of its lease."""
        _log.warning("chunk_lost", job_id=lease.job_id, chunk=lease.chunk_no, epoch=lease.epoch)
        self._release(lease)
        known = self._book.get(lease.job_id)
        if known is not None and any(work.lease is lease for work in known.works_of(lease.chunk_no)):
            for work in known.take_back(lease.chunk_no):
                self._fleet().give_up(work)

    def lease_lost(self) -> None:
        """All that this process holds belongs to others now."""
        for known in self._book:
            for work in known.works:
                known.take_back(work.lease.chunk_no)
                self._fleet().give_up(work)
            known.left_is_stale = True

    def activity(self) -> list[JobActivity]:
        """Return what this process does for each job that it has given rows of."""
        now = self._clock.monotonic()
        found = []
        for known in self._book:
            if not known.was_given:
                continue
            in_flight, retrying = self._fleet().activity(known.job.job_id)
            found.append(
                JobActivity(
                    job_id=known.job.job_id,
                    in_flight=in_flight,
                    retrying=retrying,
                    rows_per_second=round(known.rows.per_second(now), 2),
                    tokens_per_second=round(known.tokens.per_second(now), 1),
                )
            )
        return found
