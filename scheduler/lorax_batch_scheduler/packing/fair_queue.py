"""The imaginary cluster of the fair clock, kept in step with the real one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from lorax_batch_scheduler.packing.fair_clock import VirtualJob, advance

LEAST_S: Final = 1e-6


class FairQueue:
    """Knows of each living job how much is left of it there, or when it ended there."""

    def __init__(self) -> None:
        self._jobs: dict[str, VirtualJob] = {}
        self._finish: dict[str, float] = {}
        self._arrival: dict[str, float] = {}
        self._real_left: dict[str, float] = {}
        """Of living jobs: work left in the real cluster, as last told."""
        self._now = 0.0

    def advance(self, jobs: Iterable[VirtualJob], *, now: float, capacity: float, weights: Mapping[str, float]) -> None:
        """Let time pass there until `now`, and take in new jobs.

        `left_s` of a new job is its size there; later it is only what is left of it in the real cluster. Of a job that
        lives no more, what it was given beyond its share is paid back there: its tenant has had it. `capacity` is in
        slot-seconds a second.
        """
        left, ended = advance(self._jobs.values(), now=self._now, until=now, capacity=capacity, weights=weights)
        self._now = now
        living = {job.job_id: job for job in jobs}
        known = self._finish | ended
        self._finish = {job_id: time for job_id, time in known.items() if job_id in living}
        virtual: dict[str, VirtualJob] = {}
        for job_id, rest in left.items():
            if job_id not in living:
                rest -= self._real_left.pop(job_id, 0.0)
            if job_id in living or rest > LEAST_S:
                virtual[job_id] = replace(self._jobs[job_id], left_s=max(rest, LEAST_S))
        for job_id, job in living.items():
            if job_id in virtual:
                old = virtual[job_id]
                virtual[job_id] = replace(job, arrival=old.arrival, left_s=old.left_s)
            elif job_id not in self._finish:
                virtual[job_id] = replace(job, left_s=max(job.left_s, LEAST_S))
        self._arrival = {job_id: self._arrival.get(job_id, job.arrival) for job_id, job in living.items()}
        self._real_left = {job_id: job.left_s for job_id, job in living.items()}
        self._jobs = virtual

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
