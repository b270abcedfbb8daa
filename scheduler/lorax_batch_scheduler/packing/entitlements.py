"""When each job is entitled to end: what serving it early or late is measured by."""

from collections import deque
from collections.abc import Mapping

from lorax_batch_scheduler.packing.cluster import ClusterView, JobView
from lorax_batch_scheduler.packing.fair_clock import VirtualJob, ends


def entitlements(view: ClusterView, work_s: Mapping[str, float]) -> dict[str, float]:
    """Return by job when it ends on the fair clock if no other comes. `work_s`: by job, on the average slot.

    A job that has ended there, but not in the real cluster, is late: it runs there once more, with what is really
    left of it, as a part of its tenant's share. If late jobs simply went first, then as soon as some are late all
    that come would be served in order of arrival.
    """
    jobs = [_virtual(job, work_s[job.job_id]) for job in view.jobs]
    capacity = float(max(len(view.slots), 1))
    times = {end.job_id: end.time for end in ends(jobs, now=view.now, capacity=capacity, weights=view.weights)}
    return times | _turns([job for job in view.jobs if job.virtual_finish is not None], times)


def _virtual(job: JobView, work_s: float) -> VirtualJob:
    late = job.virtual_finish is not None
    return VirtualJob(
        job_id=job.job_id,
        tenant=job.tenant,
        priority=job.priority,
        arrival=job.arrival,
        left_s=work_s if late or job.virtual_left_s is None else job.virtual_left_s,
        late=late,
    )


def _turns(late: list[JobView], times: Mapping[str, float]) -> dict[str, float]:
    """Give tenants the end times of late jobs in the order in which these have ended before, or who got least would
    never catch up; the first of a tenant's jobs there is served first."""
    of_tenant: dict[str, deque[str]] = {}
    for job in sorted(late, key=lambda job: (times[job.job_id], job.job_id)):
        of_tenant.setdefault(job.tenant, deque()).append(job.job_id)
    turns = sorted(late, key=lambda job: (job.virtual_finish or 0.0, job.job_id))
    moments = sorted(times[job.job_id] for job in late)
    return {of_tenant[job.tenant].popleft(): time for job, time in zip(turns, moments, strict=True)}
