"""What a replay is judged by."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.packing.fair_clock import VirtualJob
from lorax_batch_scheduler.replay.bounds import Bounds
from lorax_batch_scheduler.replay.cluster import Outcome
from lorax_batch_scheduler.replay.fair_sharing import FairSharing
from lorax_batch_scheduler.replay.trace import Trace

LEAST_S: Final = 10.0
"""Slowdowns are bounded, as is usual: a job counts as taking at least so long, else the tiniest decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Lower is better, except for the two of fairness; see docs/packing.md."""

    makespan_s: float
    makespan_ratio: float
    mean_flow_s: float
    flow_ratio: float
    p95_slowdown: float
    deadline_misses: int
    avoidable_misses: int
    jain: float
    worst_tenant: float
    gpu_ratio: float
    gpu_used_s: float
    gpu_wasted_s: float
    cold_starts: int
    adapter_loads: int
    plan_ms: float


def measure(trace: Trace, bounds: Bounds, outcome: Outcome) -> Measures:
    """Judge one replay."""
    flows = [(job.finish if job.finish is not None else math.inf) - job.trace.arrival_s for job in outcome.jobs]
    slowdowns = sorted(flow / max(bound.alone_s, LEAST_S) for flow, bound in zip(flows, bounds.jobs, strict=True))
    makespan = max(job.finish if job.finish is not None else math.inf for job in outcome.jobs)
    mean_flow = sum(flows) / len(flows)
    missed = [
        number
        for number, job in enumerate(outcome.jobs)
        if job.trace.deadline_s is not None and (job.finish is None or job.finish > job.trace.deadline_s)
    ]
    shares = list(_fair_shares(trace, bounds, outcome).values())
    used = _slot_seconds(outcome)
    busy = sum(stay.busy_s for stay in outcome.stays)
    return Measures(
        makespan_s=makespan,
        makespan_ratio=makespan / bounds.makespan_s,
        mean_flow_s=mean_flow,
        flow_ratio=mean_flow / bounds.mean_flow_s,
        p95_slowdown=slowdowns[min(int(0.95 * len(slowdowns)), len(slowdowns) - 1)],
        deadline_misses=len(missed),
        avoidable_misses=len(set(missed) & _feasible(trace, bounds)),
        jain=sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares)),
        worst_tenant=min(shares),
        gpu_ratio=used / bounds.gpu_s(makespan),
        gpu_used_s=used,
        gpu_wasted_s=used - busy,
        cold_starts=len(outcome.stays),
        adapter_loads=sum(stay.adapter_loads for stay in outcome.stays),
        plan_ms=1000 * outcome.plan_seconds / max(outcome.plans, 1),
    )


def _slot_seconds(outcome: Outcome) -> float:
    """Return how long slots had servers; one with several counts once."""
    used, free_from = 0.0, dict[str, float]()
    for stay in sorted(outcome.stays, key=lambda stay: (stay.slot_id, stay.start, stay.end)):
        start = max(stay.start, free_from.get(stay.slot_id, 0.0))
        used += max(stay.end - start, 0.0)
        free_from[stay.slot_id] = max(stay.end, start)
    return used


def _sizes(trace: Trace, bounds: Bounds) -> list[float]:
    """Return the slot-seconds of each job on the average slot."""
    kinds: dict[str, int] = {}
    for slot in trace.slots:
        kinds[slot.kind] = kinds.get(slot.kind, 0) + 1
    found = []
    for job in bounds.jobs:
        rate = sum(count / job.work_s[kind] for kind, count in kinds.items() if job.work_s.get(kind, 0) > 0)
        found.append(len(trace.slots) / rate if rate else 0.0)
    return found


def _fair_shares(trace: Trace, bounds: Bounds, outcome: Outcome) -> dict[str, float]:
    """Return for each tenant its mean flow time under ideal fair sharing over its real one, at most 1.

    Ideal: tenants share all slots by weight at every instant, and no start and no load costs anything; each job is
    allowed one start, and never less than it would take with the cluster for itself.
    """
    weights = {tenant.id: tenant.weight for tenant in trace.tenants}
    sizes = _sizes(trace, bounds)
    fair = _fair_finishes(trace, sizes, weights)
    grace = max(job.setup_s for job in bounds.jobs)
    shares: dict[str, tuple[float, float]] = {}
    for number, (job, bound) in enumerate(zip(outcome.jobs, bounds.jobs, strict=True)):
        ideal = max(fair[str(number)] - job.trace.arrival_s + grace, bound.alone_s)
        real = (job.finish if job.finish is not None else math.inf) - job.trace.arrival_s
        known = shares.get(job.trace.tenant, (0.0, 0.0))
        shares[job.trace.tenant] = known[0] + ideal, known[1] + max(real, ideal)
    return {tenant: ideal / real for tenant, (ideal, real) in shares.items()}


def _fair_finishes(trace: Trace, sizes: list[float], weights: dict[str, float]) -> dict[str, float]:
    sharing = FairSharing(capacity=float(len(trace.slots)), weights=weights)
    for until, numbers in _arrivals(trace, range(len(trace.jobs))):
        sharing.run(until)
        for number in numbers:
            job = trace.jobs[number]
            sharing.come(
                VirtualJob(
                    job_id=str(number),
                    tenant=job.tenant,
                    priority=job.priority,
                    arrival=job.arrival_s,
                    left_s=sizes[number],
                )
            )
    return sharing.ended


def _arrivals(trace: Trace, numbers: Iterable[int]) -> Iterator[tuple[float, list[int]]]:
    """Yield each moment at which jobs come, and which; last the end of time, when none does."""
    by_moment: dict[float, list[int]] = {}
    for number in numbers:
        by_moment.setdefault(trace.jobs[number].arrival_s, []).append(number)
    yield from sorted(by_moment.items())
    yield math.inf, []


def _feasible(trace: Trace, bounds: Bounds) -> set[int]:
    """Return the jobs with deadlines that earliest-deadline-first meets on all slots, a start and a quarter spared."""
    sizes = _sizes(trace, bounds)
    dated = [number for number, job in enumerate(trace.jobs) if job.deadline_s is not None]
    sharing = FairSharing(capacity=float(len(trace.slots)), weights={}, ageing_s=math.inf)
    for until, numbers in _arrivals(trace, dated):
        sharing.run(until)
        for number in numbers:
            deadline = trace.jobs[number].deadline_s
            assert deadline is not None
            # Priority stands for the deadline here: the earliest goes first.
            priority = -int(deadline * 1000)
            sharing.come(
                VirtualJob(job_id=str(number), tenant="", priority=priority, arrival=0.0, left_s=1.25 * sizes[number])
            )
    return {
        number
        for number in dated
        if sharing.ended[str(number)] + 2 * bounds.jobs[number].setup_s + bounds.jobs[number].chain_s
        <= (trace.jobs[number].deadline_s or 0.0)
    }
