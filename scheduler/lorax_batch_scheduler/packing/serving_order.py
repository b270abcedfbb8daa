"""In which order the servers of a family take its jobs."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

from lorax_batch_scheduler.packing.cluster import JobView

YIELDED: Final = 0.1
"""Jobs with near deadlines let others pass for so much of their laxity: with much more, some come too late."""


def serving_order(
    jobs: Sequence[JobView],
    *,
    entitled: Mapping[str, float],
    laxities: Mapping[str, float],
    work_s: Mapping[str, float],
    capacity: float,
) -> list[JobView]:
    """Return jobs as they are served: near deadlines, the nearest first, then whoever is entitled to end first.

    A job that is entitled to end before a near deadline passes it while that leaves the deadline laxity enough: one
    of a thousand rows need not wait for one of a million. `entitled` and `work_s` are of jobs by id, `laxities` of
    those with near deadlines, each with the ones before it counted; `capacity` in slots as in `work_s`.
    """
    near = sorted((job for job in jobs if job.job_id in laxities), key=lambda job: (job.deadline or 0.0, job.job_id))
    others = deque(
        sorted((job for job in jobs if job.job_id not in laxities), key=lambda job: (entitled[job.job_id], job.job_id))
    )
    # Who passes one deadline puts off all behind it.
    spare = list(accumulate((laxities[job.job_id] for job in reversed(near)), min))
    order: list[JobView] = []
    passed_s = 0.0
    for job, laxity_s in zip(near, reversed(spare), strict=True):
        while others and entitled[others[0].job_id] < (job.deadline or 0.0):
            passing_s = passed_s + work_s[others[0].job_id] / (capacity or 1.0)
            if passing_s > YIELDED * laxity_s:
                break
            passed_s = passing_s
            order.append(others.popleft())
        order.append(job)
    return [*order, *others]
