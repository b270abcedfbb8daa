"""Fair sharing of a whole trace."""

import random
from dataclasses import replace

import pytest
from lorax_batch_scheduler.packing.fair_clock import VirtualJob, advance
from lorax_batch_scheduler.replay.fair_sharing import FairSharing

WEIGHTS = {"a": 1.0, "b": 0.3, "c": 2.5}
CAPACITY = 3.0


def jobs_of(seed: int) -> list[VirtualJob]:
    """Return jobs by arrival, some at once; many wait long enough for their priority to rise."""
    chance = random.Random(seed)
    return [
        VirtualJob(
            job_id=f"j{number}",
            tenant=chance.choice("abcd"),
            priority=chance.choice((0, 0, 1)),
            arrival=float(500 * (number // 2) + (number % 2) * chance.choice((0, 3))),
            left_s=chance.lognormvariate(8, 1),
        )
        for number in range(80)
    ]


def by_the_fair_clock(jobs: list[VirtualJob]) -> dict[str, float]:
    """Return when each job ends by what the planner goes by, asked at each arrival."""
    left: dict[str, VirtualJob] = {}
    found: dict[str, float] = {}
    now = 0.0
    for job in jobs:
        rest, ended = advance(left.values(), now=now, until=job.arrival, capacity=CAPACITY, weights=WEIGHTS)
        found |= ended
        left = {job_id: replace(left[job_id], left_s=seconds) for job_id, seconds in rest.items()}
        now, left[job.job_id] = job.arrival, job
    return found | advance(left.values(), now=now, until=float("inf"), capacity=CAPACITY, weights=WEIGHTS)[1]


@pytest.mark.parametrize("seed", range(10))
def test_jobs_end_when_the_fair_clock_of_the_planner_says(seed: int) -> None:
    jobs = jobs_of(seed)
    sharing = FairSharing(capacity=CAPACITY, weights=WEIGHTS)
    for job in jobs:
        sharing.run(job.arrival)
        sharing.come(job)
    sharing.run(float("inf"))
    assert sharing.ended == pytest.approx(by_the_fair_clock(jobs), rel=1e-9)
