"""Keeps the scheduler's memory of jobs true: reads what has changed, and what is left of them."""

from collections.abc import Callable
from typing import Final

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.job import RUNNABLE_STATES, Job
from lorax_batch_scheduler.ports.job_store import JobStore
from lorax_batch_scheduler.ports.lease_store import LeaseStore
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob

FULL_READ_INTERVAL_S: Final = 15.0
LEFT_INTERVAL_S: Final = 2.0
"""How often a job that seems to have nothing left is asked about anew: another process may have given chunks back."""


class JobReader:
    """Reads jobs into the book."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        leases: LeaseStore,
        book: JobBook,
        clock: Clock,
        scheduler_id: Callable[[], str],
        on_stopped: Callable[[str], None],
        refresh_needs: Callable[[list[KnownJob]], None],
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._book = book
        self._clock = clock
        self._scheduler_id = scheduler_id
        self._on_stopped = on_stopped
        self._refresh_needs = refresh_needs
        self._changed: set[str] = {""}
        self._read_all_at = 0.0

    def hear(self, job_id: str) -> None:
        """A job has changed; "": all may have."""
        self._changed.add(job_id)

    async def read_jobs(self) -> None:
        """Learn what has changed: everything now and then, else only the jobs we heard of.

        `on_stopped(job_id)` is told of each job whose rows may not be sent any more.
        """
        now = self._clock.monotonic()
        if now - self._read_all_at > FULL_READ_INTERVAL_S:
            self._changed.add("")
        changed, self._changed = self._changed, set()
        if not changed:
            return
        try:
            unfinished, gone = await self._read(changed, now)
        except BaseException:
            self._changed |= changed
            raise
        for known in gone:
            self._on_stopped(known.job.job_id)
            await self._leases.clear_activity(self._scheduler_id(), [known.job.job_id])
        before = {known.job.job_id: known.job.state for known in self._book}
        self._book.update(unfinished, now)
        for job in unfinished:
            if before.get(job.job_id) in RUNNABLE_STATES and job.state not in RUNNABLE_STATES:
                self._on_stopped(job.job_id)

    async def _read(self, changed: set[str], now: float) -> tuple[list[Job], list[KnownJob]]:
        if "" in changed:
            unfinished = await self._jobs.unfinished_jobs()
            self._read_all_at = now
            return unfinished, self._book.keep_only(job.job_id for job in unfinished)
        unfinished = [job for job in await self._jobs.get_jobs(sorted(changed)) if not job.state.terminal]
        alive = {job.job_id for job in unfinished}
        return unfinished, [known for job_id in changed - alive if (known := self._book.forget(job_id))]

    async def read_left(self) -> None:
        """Read what is left of the jobs of which we do not know it."""
        now = self._clock.monotonic()
        stale = [
            known
            for known in self._book.runnable
            if known.left_is_stale or (not known.left and now - known.left_read_at > LEFT_INTERVAL_S)
        ]
        await self._read_lengths([known for known in stale if known.lengths is None])
        self._refresh_needs(self._book.runnable)
        if not stale:
            return
        for known in stale:
            known.forget_left(now)
        for left in await self._leases.rows_left([known.job.job_id for known in stale]):
            known_job = self._book.get(left.job_id)
            if known_job is not None:
                known_job.learn_left(left)

    async def _read_lengths(self, jobs: list[KnownJob]) -> None:
        """Learn how long rows are before any is given: a server may be too narrow for them."""
        if not jobs:
            return
        for lengths in await self._leases.row_lengths([known.job.job_id for known in jobs]):
            known = self._book.get(lengths.job_id)
            if known is not None:
                known.lengths = lengths
