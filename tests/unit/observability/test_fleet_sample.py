"""How queues are told: bounded in number whatever callers name."""

from datetime import UTC, datetime, timedelta

from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.job import Job, JobState
from lorax_batch_scheduler.packing import AdapterRows
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.job_book import JobBook
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.telemetry.fleet_sample import MAX_FAMILIES, OTHER, FleetSample, take_sample

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def add_job(book: JobBook, number: int, *, model: str, state: JobState, age_s: float, rows: int) -> None:
    created = NOW - timedelta(seconds=age_s)
    job = Job(
        job_id=f"job_{number}", dataset_id="d", server_config=ServerConfig(base_model=model), base_model_id=model,
        state=state, create_time=created, update_time=created,
    )  # fmt: skip
    book.update([job], 0.0)
    known = book.get(job.job_id)
    assert known is not None
    known.left = {"": AdapterRows(model="", adapter="", chunk_count=1, row_count=rows)}


def sample_of(book: JobBook) -> FleetSample:
    return take_sample(Fleet.empty(SystemClock()), frozenset(), book, NOW)


def test_a_queue_has_the_rows_of_its_family_and_the_age_of_its_oldest_waiting_job() -> None:
    book = JobBook()
    add_job(book, 1, model="m", state=JobState.RUNNING, age_s=900, rows=10)
    add_job(book, 2, model="m", state=JobState.QUEUED, age_s=60, rows=5)
    add_job(book, 3, model="m", state=JobState.STARTING, age_s=90, rows=5)
    add_job(book, 4, model="m", state=JobState.PAUSED, age_s=999, rows=5)
    add_job(book, 5, model="other model", state=JobState.RUNNING, age_s=999, rows=1)
    first, second = sample_of(book).queues
    assert (first.model, first.jobs, first.rows, first.oldest_s) == ("m", 3, 20, 90)
    assert (second.model, second.jobs, second.rows, second.oldest_s) == ("other model", 1, 1, 0)


def test_families_beyond_the_largest_are_told_as_one() -> None:
    book = JobBook()
    for number in range(MAX_FAMILIES + 30):
        add_job(book, number, model=f"m{number}", state=JobState.QUEUED, age_s=number, rows=1_000 - number)
    queues = sample_of(book).queues
    assert len(queues) == MAX_FAMILIES
    assert (queues[-1].family, queues[-1].model, queues[-1].jobs) == (OTHER, OTHER, 31)
    assert sum(queue.jobs for queue in queues) == MAX_FAMILIES + 30
