"""Says why jobs wait; with several processes, without contradicting each other for ever."""

from collections.abc import Sequence
from typing import Final

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.job import RUNNABLE_STATES, JobState
from lorax_batch_scheduler.packing import ExplainWait
from lorax_batch_scheduler.ports.job_store import JobStore
from lorax_batch_scheduler.scheduling.job_book import KnownJob

OTHERS_WORD_S: Final = 30.0
"""So long what another process has said or done stands: each sees only its own servers."""


class WaitReasons:
    """Decides whether this process has a say about a job, and writes reasons down."""

    def __init__(self, *, jobs: JobStore, clock: Clock, exclusive: bool) -> None:
        self._jobs = jobs
        self._clock = clock
        self._exclusive = exclusive

    async def tell(self, waiting: Sequence[tuple[KnownJob, ExplainWait]], runnable: Sequence[KnownJob]) -> None:
        """Tell callers why queued jobs wait, and what keeps jobs that have a server from going on."""
        reasons: dict[str, str] = {}
        for known, wait in waiting:
            queued = known.job.state is JobState.QUEUED
            if queued and known.job.reason != wait.reason and self._has_the_word(known):
                known.told_reason = reasons[wait.job_id] = wait.reason
        for known in runnable:
            told_here = known.told_reason and known.job.reason == known.told_reason
            if known.job.state is not JobState.QUEUED and (known.trouble or told_here):
                known.told_reason = known.trouble
                if known.job.reason != known.trouble:
                    reasons[known.job.job_id] = known.trouble
        await self._jobs.explain_jobs(reasons)

    def is_abandoned(self, known: KnownJob, wait: ExplainWait) -> bool:
        """Tell whether a job that was on its way has no server left, and nobody else works on it either."""
        counts = known.job.counts
        if known.job.state is JobState.QUEUED or known.job.state not in RUNNABLE_STATES or not wait.stranded:
            return False
        if known.works or counts.in_flight or counts.retrying:
            return False
        return known.was_given or self._others_are_silent(known)

    def _has_the_word(self, known: KnownJob) -> bool:
        return known.job.reason in ("", known.told_reason) or self._others_are_silent(known)

    def _others_are_silent(self, known: KnownJob) -> bool:
        return self._exclusive or self._clock.monotonic() - known.changed_at > OTHERS_WORD_S
