"""The imaginary cluster in step with the real one: what is left there, who ended there, and what the gone leave."""

import pytest
from lorax_batch_scheduler.packing.fair_clock import VirtualJob
from lorax_batch_scheduler.packing.fair_queue import FairQueue


def job(job_id: str, size: float, *, tenant: str = "t", arrival: float = 0.0, priority: int = 0) -> VirtualJob:
    return VirtualJob(job_id=job_id, tenant=tenant, priority=priority, arrival=arrival, left_s=size)


def advance(queue: FairQueue, *jobs: VirtualJob, now: float, weights: dict[str, float] | None = None) -> None:
    queue.advance(jobs, now=now, capacity=2.0, weights=weights or {})


def test_a_tenants_jobs_run_shortest_first_and_end_there():
    queue = FairQueue()
    long, short = job("long", 100), job("short", 10)
    advance(queue, long, short, now=0)
    advance(queue, long, short, now=20)
    assert (queue.left_s("short"), queue.finish("short")) == (None, 5.0)
    assert queue.left_s("long") == pytest.approx(70)
    assert queue.finish("long") is None


def test_tenants_share_by_weight():
    queue = FairQueue()
    jobs = job("a", 100, tenant="a"), job("b", 100, tenant="b")
    advance(queue, *jobs, now=0)
    advance(queue, *jobs, now=20, weights={"a": 3})
    assert queue.left_s("a") == pytest.approx(70)
    assert queue.left_s("b") == pytest.approx(90)


def test_a_job_that_ran_faster_than_its_share_uses_it_until_it_ends_there():
    queue = FairQueue()
    quick, later, other = job("quick", 40), job("later", 50), job("other", 100, tenant="u")
    advance(queue, quick, later, other, now=0)
    advance(queue, job("quick", 0), later, other, now=10)  # all done, in ten seconds of the whole cluster and more
    advance(queue, later, other, now=10)
    advance(queue, later, other, now=40)
    assert queue.left_s("later") == pytest.approx(50)
    assert queue.left_s("quick") is None
    assert queue.left_s("other") == pytest.approx(60)


def test_a_job_that_was_cancelled_before_it_ran_takes_nothing():
    queue = FairQueue()
    huge, later, other = job("huge", 40), job("later", 50), job("other", 100, tenant="u")
    advance(queue, huge, later, other, now=0)
    advance(queue, later, other, now=0)
    advance(queue, later, other, now=20)
    assert queue.left_s("later") == pytest.approx(30)
    assert queue.left_s("other") == pytest.approx(80)


def test_a_job_keeps_its_arrival_and_takes_a_new_priority():
    queue = FairQueue()
    advance(queue, job("a", 100), job("b", 10), now=0)
    advance(queue, job("a", 1, arrival=9, priority=5), job("b", 10, arrival=9), now=0)
    advance(queue, job("a", 1, arrival=9, priority=5), job("b", 10, arrival=9), now=20)
    assert queue.arrival("a") == 0
    assert queue.left_s("a") == pytest.approx(60)
    assert queue.left_s("b") == 10
