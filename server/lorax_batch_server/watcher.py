"""One caller's watch: what it selects, what it was told, and what waits for it."""

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from lorax_batch_scheduler.errors import NotFoundError
from lorax_batch_scheduler.job import Job, JobFilter, StateChange
from lorax_batch_scheduler.ports import JobStore

from lorax_batch_server.errors import SequenceAheadError


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A selected job as it is at the beginning."""

    sequence: int
    job: Job


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A job moved."""

    sequence: int
    change: StateChange


@dataclass(frozen=True, slots=True)
class Progress:
    """A job has new counts."""

    sequence: int
    job: Job


@dataclass(frozen=True, slots=True)
class Deleted:
    """A job was deleted."""

    sequence: int
    job_id: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing else to tell; the stream is alive."""

    sequence: int


def told(change: StateChange) -> StateChanged | Deleted:
    """Return how a watch tells a stored change."""
    if change.job is None:
        return Deleted(change.sequence, change.job_id)
    return StateChanged(change.sequence, change)


Happening: TypeAlias = Snapshot | StateChanged | Progress | Deleted | Heartbeat
"""What a watch tells; `sequence` is what to reconnect with."""


class Watcher:
    """The state of one watch. What waits for it is one job each at most, however slowly it reads."""

    def __init__(self, where: JobFilter) -> None:
        self.where = where
        self.wake = asyncio.Event()
        self.cursor = 0
        """The sequence of the last state change that was told or left out."""
        self.behind_until = 0
        """Up to here it must read the store, as what it resumes from may be ahead of what the hub has read."""
        self._unended = set(where.job_ids)
        """Named jobs whose end was not told yet."""
        self._shown: dict[str, int] = {}
        """Jobs of the snapshot that had moved on behind its sequence: their moves up to this one are in it."""
        self._progress: dict[str, Job] = {}

    @property
    def done(self) -> bool:
        """Whether it watches named jobs and has told the end of each."""
        return bool(self.where.job_ids) and not self._unended

    async def named_jobs(self, jobs: JobStore) -> list[Job]:
        """Return the named jobs in the caller's order. Raises `NotFoundError` when one does not exist."""
        found = await self._read_named(jobs)
        for job_id in self.where.job_ids:
            if job_id not in found:
                raise NotFoundError("job", job_id)
        return [found[job_id] for job_id in self.where.job_ids]

    async def resume(self, jobs: JobStore, after: int, latest: int) -> None:
        """Go on behind a sequence: named jobs that had ended by then are over, and so are those that are gone.

        Raises:
            SequenceAheadError: nothing has that sequence yet.
        """
        if after > latest:
            raise SequenceAheadError(after, latest)
        self.cursor, self.behind_until = after, latest
        if not self.where.job_ids:
            return
        found = await self._read_named(jobs)
        for job_id in self.where.job_ids:
            job = found.get(job_id)
            if job is None or (job.state.terminal and job.sequence <= after):
                self._unended.discard(job_id)

    async def _read_named(self, jobs: JobStore) -> dict[str, Job]:
        """Return those of the named jobs that there are; another tenant's are not there."""
        found = await jobs.get_jobs(self.where.job_ids)
        return {job.job_id: job for job in found if self.where.tenant in {None, job.tenant}}

    def snapshot(self, job: Job) -> Snapshot:
        """Note that the job is shown as it is."""
        if job.sequence > self.cursor:
            self._shown[job.job_id] = job.sequence
        if job.state.terminal:
            self._unended.discard(job.job_id)
        waiting = self._progress.get(job.job_id)
        if waiting is not None and waiting.update_time <= job.update_time:
            self.drop_progress(job.job_id)
        return Snapshot(self.cursor, job)

    def passes(self, change: StateChange) -> bool:
        """Move the cursor behind a state change, and say whether this watch tells it."""
        self.cursor = change.sequence
        if change.sequence <= self._shown.get(change.job_id, 0):
            return False
        self._shown.pop(change.job_id, None)
        if change.to_state is None or change.to_state.terminal:
            self._unended.discard(change.job_id)
        return self._selects(change)

    def _selects(self, change: StateChange) -> bool:
        """A filter by state selects the moves into such a state and out of it; deletions have only an id to go by."""
        where = self.where
        if where.tenant not in {None, change.tenant}:
            return False
        if change.job is None:
            return not where.job_ids or change.job_id in where.job_ids
        if where.states and change.from_state not in where.states and change.to_state not in where.states:
            return False
        return msgspec.structs.replace(where, states=[]).matches(change.job)

    def put_progress(self, job: Job) -> None:
        """Let the job's new counts wait; older ones that still wait are left out."""
        self._progress[job.job_id] = job
        self.wake.set()

    def drop_progress(self, job_id: str) -> None:
        """Leave out counts that wait: they are older than what is told next."""
        self._progress.pop(job_id, None)

    def take_progress(self) -> Job | None:
        """Return the counts that have waited longest."""
        if not self._progress:
            return None
        return self._progress.pop(next(iter(self._progress)))
