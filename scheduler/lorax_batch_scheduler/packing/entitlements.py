"""When each job is entitled to end: what serving it early or late is measured by."""

from collections.abc import Mapping

from lorax_batch_scheduler.packing.cluster import ClusterView, JobView
from lorax_batch_scheduler.packing.fair_clock import VirtualJob, ends


def entitlements(view: ClusterView, work_s: Mapping[str, float]) -> dict[str, float]:
    """Return by job when it ends on the fair clock if no other comes. `work_s`: by job, on the average slot.

    A job that has ended there, but not in the real cluster, is late: it runs there once more, with what is really
    left of it and as a part of its tenant's share. If late jobs simply went first, then as soon as some are late
    all that come are served in order of arrival, and a tenant with many late jobs holds up all others.
    """

    def virtual(job: JobView) -> VirtualJob:
        left_s = job.virtual_left_s
        return VirtualJob(
            job_id=job.job_id,
            tenant=job.tenant,
            priority=job.priority,
            arrival=job.arrival,
            left_s=left_s or work_s[job.job_id],
            late=left_s == 0,
        )

    capacity = float(max(len(view.slots), 1))
    jobs = map(virtual, view.jobs)
    return {end.job_id: end.time for end in ends(jobs, now=view.now, capacity=capacity, weights=view.weights)}
