"""One caller's watch: what it selects, what it was told, and what waits for it."""

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

from lorax_batch_scheduler.errors import NotFoundError
from lorax_batch_scheduler.job import Job, JobFilter, StateChange
from lorax_batch_scheduler.ports import JobStore

from lorax_batch_server.errors import OutOfRangeError


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


Happening: TypeAlias = Snapshot | StateChanged | Progress | Deleted | Heartbeat
"""What a watch tells; `sequence` is what to reconnect with."""


class Watcher:
    """The state of one watch. What waits for it is one job each at most, however slowly it reads."""

    def __init__(self, where: JobFilter) -> None:
        self.where = where
        self.wake = asyncio.Event()
        self.cursor = 0
        """The sequence of the last state change that was told or left out."""
        self._unended = set(where.job_ids)
        """Named jobs whose end was not told yet."""
        self._shown: dict[str, int] = {}
        """Jobs of the snapshot that had moved on behind its sequence: their moves up to this one are in it."""
        self._progress: dict[str, Job] = {}
        self._deleted: dict[str, None] = {}

    @property
    def done(self) -> bool:
        """Whether it watches named jobs and has told the end of each."""
        return bool(self.where.job_ids) and not self._unended and not self._deleted

    async def named_jobs(self, jobs: JobStore) -> list[Job]:
        """Return the named jobs in the caller's order. Raises `NotFoundError` when one does not exist."""
        found = {job.job_id: job for job in await jobs.get_jobs(self.where.job_ids)}
        for job_id in self.where.job_ids:
            if job_id not in found:
                raise NotFoundError("job", job_id)
        return [found[job_id] for job_id in self.where.job_ids]

    async def resume(self, jobs: JobStore, after: int, latest: int) -> None:
        """Go on behind a sequence: named jobs whose end was told by then are over, those that are gone were deleted."""
        if after > latest:
            raise OutOfRangeError(f"after_sequence {after} is ahead of the latest, {latest}: watch anew without it")
        self.cursor = after
        if not self.where.job_ids:
            return
        found = {job.job_id: job for job in await jobs.get_jobs(self.where.job_ids)}
        for job_id in self.where.job_ids:
            job = found.get(job_id)
            if job is None:
                self.put_deleted(job_id)
            elif job.state.terminal and job.sequence <= after:
                self._unended.discard(job_id)

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

    def tells(self, change: StateChange) -> bool:
        """Note that a state change is passed, and say whether this watch tells it.

        A filter by state selects the moves into such a state and out of it.
        """
        job = change.job
        if change.sequence <= self._shown.get(job.job_id, 0):
            return False
        self._shown.pop(job.job_id, None)
        selected = self._selects(change)
        if change.to_state.terminal:
            self._unended.discard(job.job_id)
        return selected

    def _selects(self, change: StateChange) -> bool:
        states = self.where.states
        if states and change.from_state not in states and change.to_state not in states:
            return False
        where = self.where
        return JobFilter(
            job_ids=where.job_ids,
            labels=where.labels,
            dataset_id=where.dataset_id,
            base_model_id=where.base_model_id,
        ).matches(change.job)

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

    def put_deleted(self, job_id: str) -> None:
        """Let the news wait that a job was deleted. A watch of a filter hears of every one: what it was is gone."""
        self.drop_progress(job_id)
        if not self.where.job_ids or job_id in self.where.job_ids:
            self._deleted[job_id] = None
            self._unended.discard(job_id)
            self.wake.set()

    def take_deleted(self) -> str | None:
        """Return the id of a deleted job that was not told yet."""
        if not self._deleted:
            return None
        job_id = next(iter(self._deleted))
        del self._deleted[job_id]
        return job_id
