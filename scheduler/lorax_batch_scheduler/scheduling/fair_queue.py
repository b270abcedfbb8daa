"""The fair clock of the living jobs: how much of each is left in the imaginary cluster, or when it ended there."""

from collections.abc import Iterable, Mapping, Sequence

from lorax_batch_scheduler.packing.fair_clock import VirtualJob, advance
from lorax_batch_scheduler.scheduling.job_book import KnownJob


class FairQueue:
    """Keeps the imaginary cluster in step with the real time."""

    def __init__(self) -> None:
        self._jobs: dict[str, VirtualJob] = {}
        self._finish: dict[str, float] = {}
        self._arrival: dict[str, float] = {}
        self._now = 0.0
        self._weights: Mapping[str, float] = {}

    def advance(self, jobs: Sequence[KnownJob], sizes: Mapping[str, float], *, now: float, capacity: float) -> None:
        """Let time pass there, forget jobs that are gone, and take in new ones with their sizes (slot-seconds)."""
        left, ended = advance(self._jobs.values(), now=self._now, until=now, capacity=capacity, weights=self._weights)
        # From now on: the time that has passed was shared by those of then.
        self._weights = share_weights(jobs)
        self._finish |= ended
        self._now = now
        living = {known.job.job_id: known for known in jobs}
        self._jobs = {
            job_id: self._virtual(living[job_id], seconds, self._arrival[job_id])
            for job_id, seconds in left.items()
            if job_id in living
        }
        self._finish = {job_id: time for job_id, time in self._finish.items() if job_id in living}
        self._arrival = {job_id: time for job_id, time in self._arrival.items() if job_id in living}
        for job_id, known in living.items():
            if job_id not in self._arrival:
                self._arrival[job_id] = now
                self._jobs[job_id] = self._virtual(known, sizes[job_id], now)

    def of(self, job_id: str) -> tuple[float | None, float | None]:
        """Return what is left of a job there, and when it ended there if it has."""
        job = self._jobs.get(job_id)
        return (job.left_s if job is not None else None), self._finish.get(job_id)

    def arrival(self, job_id: str, default: float) -> float:
        """Return when a job came."""
        return self._arrival.get(job_id, default)

    def _virtual(self, known: KnownJob, left_s: float, arrival: float) -> VirtualJob:
        return VirtualJob(
            job_id=known.job.job_id,
            tenant=known.job.tenant,
            priority=known.job.priority,
            arrival=arrival,
            left_s=max(left_s, 1e-6),
        )


def share_weights(jobs: Iterable[KnownJob]) -> dict[str, float]:
    """Return the weight of each tenant that has jobs, as the newest read says."""
    return {known.job.tenant: known.job.share_weight for known in jobs}
