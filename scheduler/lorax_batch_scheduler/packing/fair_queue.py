"""The imaginary cluster of the fair clock, kept in step with the real one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lorax_batch_scheduler.packing.fair_clock import VirtualJob, advance


class FairQueue:
    """Knows of each living job how much is left of it there, or when it ended there."""

    def __init__(self) -> None:
        self._jobs: dict[str, VirtualJob] = {}
        self._finish: dict[str, float] = {}
        self._arrival: dict[str, float] = {}
        self._now = 0.0

    def advance(
        self, jobs: Iterable[VirtualJob], *, now: float, capacity: float, weights: Mapping[str, float]
    ) -> None:
        """Let time pass there until `now`, forget jobs that are not among the living ones, and take in new ones.

        `left_s` of a job that is known already is not looked at; its tenant and priority may have changed.
        `capacity` is in slot-seconds a second.
        """
        left, ended = advance(self._jobs.values(), now=self._now, until=now, capacity=capacity, weights=weights)
        living = {job.job_id: job for job in jobs}
        known = self._finish | ended
        self._finish = {job_id: time for job_id, time in known.items() if job_id in living}
        self._arrival = {job_id: self._arrival.get(job_id, job.arrival) for job_id, job in living.items()}
        self._jobs = {
            job_id: replace(job, arrival=self._arrival[job_id], left_s=max(left.get(job_id, job.left_s), 1e-6))
            for job_id, job in living.items()
            if job_id not in self._finish
        }
        self._now = now

    def left_s(self, job_id: str) -> float | None:
        """Return what is left of a job there; None when it has ended there."""
        job = self._jobs.get(job_id)
        return job.left_s if job is not None else None

    def finish(self, job_id: str) -> float | None:
        """Return when a job ended there; None while it has not."""
        return self._finish.get(job_id)

    def arrival(self, job_id: str) -> float:
        """Return when a living job came. Raises `KeyError` for any other."""
        return self._arrival[job_id]
