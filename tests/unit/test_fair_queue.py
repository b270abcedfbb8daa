"""The imaginary cluster is shared by tenants, by their weights."""

from datetime import UTC, datetime

import pytest
from lorax_batch_scheduler.job import Job, JobState
from lorax_batch_scheduler.rate import Rate
from lorax_batch_scheduler.scheduling.fair_queue import FairQueue, share_weights
from lorax_batch_scheduler.scheduling.job_book import KnownJob
from lorax_batch_scheduler.server_config import ServerConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def known(job_id: str, tenant: str, weight: float) -> KnownJob:
    job = Job(
        job_id=job_id,
        tenant=tenant,
        share_weight=weight,
        dataset_id="ds",
        server_config=ServerConfig(base_model="m"),
        base_model_id="m",
        state=JobState.QUEUED,
        create_time=NOW,
        update_time=NOW,
    )
    return KnownJob(job=job, rows=Rate(0.0), tokens=Rate(0.0))


def left_after(jobs: list[KnownJob], seconds: float) -> dict[str, float | None]:
    queue = FairQueue()
    sizes = {each.job.job_id: 100.0 for each in jobs}
    queue.advance(jobs, sizes, now=0.0, capacity=1.0)
    queue.advance(jobs, sizes, now=seconds, capacity=1.0)
    return {each.job.job_id: queue.of(each.job.job_id)[0] for each in jobs}


def test_a_tenant_with_many_jobs_gets_no_more_than_one_with_a_single_job():
    jobs = [*(known(f"a{n}", "acme", 1.0) for n in range(9)), known("g", "globex", 1.0)]
    left = left_after(jobs, 100.0)
    assert left["g"] == pytest.approx(50.0)
    assert sum(left[f"a{n}"] or 0.0 for n in range(9)) == pytest.approx(850.0)


def test_weights_are_shares():
    left = left_after([known("a", "acme", 3.0), known("g", "globex", 1.0)], 100.0)
    assert left == {"a": pytest.approx(25.0), "g": pytest.approx(75.0)}


def test_the_newest_reading_of_a_weight_counts():
    assert share_weights([known("a", "acme", 3.0), known("g", "globex", 1.0)]) == {"acme": 3.0, "globex": 1.0}
