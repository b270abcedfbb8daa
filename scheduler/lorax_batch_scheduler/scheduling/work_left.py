"""What is left of each job, adapter by adapter: read now and then, and counted down by the job's counts in between."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.estimates import AdapterLeft, JobLeft
from lorax_batch_scheduler.ports.job_store import JobStore
from lorax_batch_scheduler.scheduling.job_book import KnownJob

FRESH_S: Final = 10.0
"""Adapters of a job are taken to end at the same rate for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What was read of a job."""

    at: float
    ended: int
    """Rows of the job that had ended by then."""
    rows: tuple[AdapterLeft, ...]


class WorkLeft:
    """Rows without results, whoever runs them."""

    def __init__(self, jobs: JobStore, clock: Clock) -> None:
        self._jobs = jobs
        self._clock = clock
        self._read: dict[str, _Read] = {}

    async def read(self, jobs: Iterable[KnownJob]) -> None:
        """Read of these jobs what is new or old, and forget all others. Raises `DatabaseError`."""
        living = {known.job.job_id: known for known in jobs}
        self._read = {job_id: read for job_id, read in self._read.items() if job_id in living}
        now = self._clock.monotonic()
        stale = [job_id for job_id, known in living.items() if self._is_stale(known, now)]
        if not stale:
            return
        found = await self._jobs.rows_unfinished(stale)
        for job_id in stale:
            ended = living[job_id].job.counts.ended
            self._read[job_id] = _Read(at=now, ended=ended, rows=found.get(job_id, ()))

    def of(self, known: KnownJob) -> JobLeft:
        """Return what is left of a job now; until it was read, as if no row named an adapter."""
        job, counts = known.job, known.job.counts
        left = max(counts.total - counts.ended, 0)
        read = self._read.get(job.job_id)
        if read is None:
            rows: tuple[AdapterLeft, ...] = (_plain(left, job.default_max_tokens),)
        else:
            then = counts.total - read.ended
            rows = tuple(_share(each, left / then) for each in read.rows) if then > 0 else ()
        return JobLeft(
            family=known.family,
            rows=rows,
            ended_rows=counts.succeeded,
            ended_completion_tokens=job.completion_tokens,
        )

    def _is_stale(self, known: KnownJob, now: float) -> bool:
        read = self._read.get(known.job.job_id)
        return read is None or (known.job.counts.ended != read.ended and now - read.at >= FRESH_S)


def _plain(row_count: int, max_tokens: int) -> AdapterLeft:
    return AdapterLeft(adapter="", row_count=row_count, prompt_tokens=0, allowed_tokens=row_count * max_tokens)


def _share(each: AdapterLeft, share: float) -> AdapterLeft:
    """Return a part of the rows of an adapter, but one row at least."""
    rows = max(round(each.row_count * share), 1)
    part = rows / each.row_count
    return replace(
        each,
        row_count=rows,
        prompt_tokens=round(each.prompt_tokens * part),
        allowed_tokens=round(each.allowed_tokens * part),
    )
