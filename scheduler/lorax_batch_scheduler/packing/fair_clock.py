"""The virtual fair clock: an imaginary cluster that tenants share by weight at every instant.

A tenant's jobs run there one after another: by priority, which rises with age, then late ones, then shortest first. A
job's finish time there is its entitlement: whoever serves real jobs in the order of these times lets jobs run one after
another, while nobody ends later than under fair sharing (the fair sojourn protocol of Friedman and Henderson).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

AGEING_S: Final = 7200.0
"""A job's priority rises by one for each such time since it came, so that no job waits for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualJob:
    """A job in the imaginary cluster."""

    job_id: str
    tenant: str
    priority: int
    arrival: float
    left_s: float
    """Work left there, in slot-seconds."""
    late: bool = False
    """It has ended there once: it goes before its tenant's others of its priority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualEnd:
    """When a job ends in the imaginary cluster if no other comes."""

    job_id: str
    time: float


def ends(jobs: Iterable[VirtualJob], *, now: float, capacity: float, weights: Mapping[str, float]) -> list[VirtualEnd]:
    """Return when each job ends, earliest first. `capacity` is in slot-seconds a second."""
    found: list[VirtualEnd] = []
    for time, job_id, _ in _walk(_queues(jobs, now), now=now, capacity=capacity, weights=weights):
        found.append(VirtualEnd(job_id=job_id, time=time))
    return found


def advance(
    jobs: Iterable[VirtualJob], *, now: float, until: float, capacity: float, weights: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Let time pass in the imaginary cluster; return what is left by job, and the end times of those that ended."""
    queues = _queues(jobs, now)
    left = {job.job_id: job.left_s for queue in queues.values() for job in queue}
    ended: dict[str, float] = {}
    level = 0.0
    for time, job_id, at_level in _walk(queues, now=now, capacity=capacity, weights=weights):
        if time > until:
            break
        ended[job_id] = time
        left.pop(job_id)
        level = at_level
    last = max(ended.values(), default=now)
    active = sum(_weight(weights, tenant) for tenant, queue in queues.items() if any(j.job_id in left for j in queue))
    if active and until > last:
        level += (until - last) * capacity / active
    for tenant, queue in queues.items():
        given = level * _weight(weights, tenant) - sum(job.left_s for job in queue if job.job_id in ended)
        for job in queue:
            if job.job_id in left and given > 0:
                used = min(given, job.left_s)
                left[job.job_id] -= used
                given -= used
    return left, ended


def _weight(weights: Mapping[str, float], tenant: str) -> float:
    return weights.get(tenant, 1.0)


def _queues(jobs: Iterable[VirtualJob], now: float) -> dict[str, list[VirtualJob]]:
    def rank(job: VirtualJob) -> tuple[int, bool, float, float, str]:
        aged = job.priority + int(max(now - job.arrival, 0.0) / AGEING_S)
        return -aged, not job.late, job.left_s, job.arrival, job.job_id

    queues: dict[str, list[VirtualJob]] = {}
    for job in sorted(jobs, key=rank):
        queues.setdefault(job.tenant, []).append(job)
    return queues


def _walk(
    queues: Mapping[str, list[VirtualJob]], *, now: float, capacity: float, weights: Mapping[str, float]
) -> Iterable[tuple[float, str, float]]:
    """Yield (time, job, level) of each end in order; a tenant has been given its weight times the level."""
    marks: list[tuple[float, str, str, bool]] = []
    for tenant, queue in queues.items():
        given = 0.0
        for index, job in enumerate(queue):
            given += job.left_s
            marks.append((given / _weight(weights, tenant), job.job_id, tenant, index == len(queue) - 1))
    marks.sort()
    active = sum(_weight(weights, tenant) for tenant in queues)
    time, level = now, 0.0
    for mark, job_id, tenant, last in marks:
        time += (mark - level) * active / capacity
        level = mark
        yield time, job_id, level
        if last:
            active -= _weight(weights, tenant)
