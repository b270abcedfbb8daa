"""What was learned survives restarts, and what was foretold of jobs is stored with them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.estimates import AdapterLeft, LearnedBook, Subject, Topic
from lorax_batch_scheduler.estimates.learned_keeper import LearnedKeeper
from lorax_batch_scheduler.job import AdmissionAnswer, JobAdmission, JobEta, JobEvent
from lorax_batch_scheduler.postgres.learned_store import PostgresLearnedStore

from tests.integration.postgres.conftest import Stores

LENGTH = Subject(topic=Topic.OUTPUT_TOKENS, family="f", detail="org/adapter")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def taught() -> LearnedBook:
    book = LearnedBook()
    for value in (80.0, 100.0):
        book.observe(LENGTH, value, amount=10, memory=1_000)
        book.observe(Subject(topic=Topic.SERVER_SLOWNESS, detail="server"), value, amount=10, memory=1_000)
    return book


def keeper(book: LearnedBook, stores: Stores) -> LearnedKeeper:
    return LearnedKeeper(book, PostgresLearnedStore(stores.database), SystemClock())


async def test_the_next_life_knows_what_this_one_learned(stores: Stores) -> None:
    book, later = taught(), LearnedBook()
    await keeper(book, stores).store()
    await keeper(later, stores).load()
    assert later.get(LENGTH) == book.get(LENGTH)
    assert len(later) == 1  # servers come and go: their own speed is not kept
    assert later.take_changed() == {}


async def test_what_was_learned_meanwhile_is_not_overwritten_and_stored_over_the_old(stores: Stores) -> None:
    await keeper(taught(), stores).store()
    book = LearnedBook()
    book.observe(LENGTH, 5.0, amount=1, memory=1_000)
    await keeper(book, stores).load()
    assert book.get(LENGTH).mean == 5.0
    await keeper(book, stores).store()
    again = LearnedBook()
    await keeper(again, stores).load()
    assert again.get(LENGTH).mean == 5.0


async def test_the_newest_are_loaded_when_there_are_too_many(stores: Stores) -> None:
    store = PostgresLearnedStore(stores.database)
    for name in ("old", "new"):
        book = LearnedBook()
        book.observe(Subject(topic=Topic.COLD_START, detail=name), 1.0, amount=1, memory=1)
        await store.store_learned(book.take_changed())
    assert [subject.detail for subject in await store.learned(limit=1)] == ["new"]


async def test_many_schedulers_store_at_once_without_waiting_in_a_circle(stores: Stores) -> None:
    books = [LearnedBook() for _ in range(8)]
    for number, book in enumerate(books):
        names = [f"adapter-{n}" for n in range(200)]
        for name in names if number % 2 else reversed(names):
            book.observe(Subject(topic=Topic.OUTPUT_TOKENS, detail=name), 1.0 + number, amount=1, memory=1)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for book in books:
            group.create_task(keeper(book, stores).store())
    assert len(await PostgresLearnedStore(stores.database).learned(limit=1_000)) == 200


async def test_what_could_not_be_stored_is_stored_later(stores: Stores) -> None:
    class Broken:
        async def learned(self, *, limit: int):
            raise DatabaseError("away")

        async def store_learned(self, learned: object) -> None:
            raise DatabaseError("away")

    book = taught()
    with pytest.raises(DatabaseError):
        await LearnedKeeper(book, Broken(), SystemClock()).store()
    assert set(book.take_changed()) == {LENGTH}


async def test_the_answer_to_a_deadline_is_given_once(stores: Stores) -> None:
    await stores.ready_dataset(3)
    job = await stores.queued_job()
    assert (job.admission, job.earliest_finish_time) == (None, None)
    first = JobAdmission(answer=AdmissionAnswer.AT_RISK, reason="tight", earliest_finish_time=NOW)
    await stores.jobs.admit_jobs({job.job_id: first, "job_unknown": first})
    await stores.jobs.admit_jobs({job.job_id: JobAdmission(answer=AdmissionAnswer.FEASIBLE)})
    told = await stores.jobs.get_job(job.job_id)
    assert (told.admission, told.admission_reason, told.earliest_finish_time) == (AdmissionAnswer.AT_RISK, "tight", NOW)


async def test_ends_are_foretold_and_taken_back_until_the_job_has_ended(stores: Stores) -> None:
    await stores.ready_dataset(3)
    job = await stores.queued_job()
    eta = JobEta(early=NOW, expected=NOW + timedelta(minutes=1), late=NOW + timedelta(minutes=2))
    await stores.jobs.foretell_jobs({job.job_id: eta})
    told = await stores.jobs.get_job(job.job_id)
    assert (told.eta_early, told.eta, told.eta_late) == (eta.early, eta.expected, eta.late)
    moved = await stores.jobs.move_job(job.job_id, JobEvent.PAUSE)  # its event holds the job with all of it
    assert moved.eta == eta.expected
    await stores.jobs.foretell_jobs({job.job_id: None})
    assert (await stores.jobs.get_job(job.job_id)).eta is None
    await stores.jobs.foretell_jobs({})
    await stores.jobs.admit_jobs({})


async def test_what_is_left_of_a_job_is_told_by_adapter(stores: Stores) -> None:
    await stores.ready_dataset(3, 5, invalid_rows=2)
    await stores.queued_job(default_max_tokens=64)
    left = await stores.jobs.rows_unfinished(["job_1", "job_unknown"])
    assert left == {
        "job_1": (
            AdapterLeft(adapter="adapter-0", row_count=3, prompt_tokens=30, allowed_tokens=300),
            AdapterLeft(adapter="adapter-1", row_count=5, prompt_tokens=50, allowed_tokens=500),
        )
    }
