"""What has expired goes, what is used stays, and one process at a time sees to it."""

from datetime import timedelta

import pytest
from lorax_batch_scheduler.dataset import DatasetState, NewDataset
from lorax_batch_scheduler.errors import NotFoundError, SequenceTooOldError
from lorax_batch_scheduler.job import JobEvent, JobFilter
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.retention import KEEP_ALL, RetentionPolicy
from lorax_batch_scheduler.retention.caretaker import JOBS_AT_ONCE, TURN
from lorax_batch_scheduler.retention.event_expiry import EVENTS_AT_ONCE

from tests.integration.postgres.conftest import LEASE, Stores
from tests.integration.postgres.retention.conftest import MakeCaretaker
from tests.integration.postgres.retention.ended_job import DAY, age, ended_job


async def job_ids(stores: Stores) -> set[str]:
    return {job.job_id for job in (await stores.jobs.list_jobs(JobFilter(), page_size=100, page_token="")).items}


async def dataset_ids(stores: Stores) -> set[str]:
    page = await stores.datasets.list_datasets(page_size=100, page_token="")
    return {dataset.dataset_id for dataset in page.items}


async def test_ended_jobs_go_at_their_time_and_unfinished_ones_never(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await ended_job(stores, objects, "job_old")
    await stores.queued_job("job_waits")
    await age(stores, DAY)
    await ended_job(stores, objects, "job_new")
    clean_up = caretaker(RetentionPolicy(jobs=DAY, segments=None))
    assert await clean_up.make_round() == {"jobs": 1, "swept": 1}
    assert await job_ids(stores) == {"job_new", "job_waits"}
    told = await stores.jobs.state_changes(0, limit=100)
    assert (told[-1].job_id, told[-1].to_state) == ("job_old", None)
    assert told[-1].reason == "expired: jobs are kept for 1 day, 0:00:00 after their end"
    assert await clean_up.make_round() == {}


async def test_off_keeps_everything(stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker) -> None:
    await ended_job(stores, objects)
    await age(stores, 10_000 * DAY)
    await caretaker(KEEP_ALL).make_round()
    assert (await job_ids(stores), await dataset_ids(stores)) == ({"job_1"}, {"ds_1"})
    assert len(await stores.jobs.state_changes(0, limit=100)) == 3


async def test_more_than_a_batch_is_deleted_in_batches(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    count = 2 * JOBS_AT_ONCE + 1
    for number in range(count):
        await ended_job(stores, objects, f"job_{number}", commits=[[1]])
    await age(stores, DAY)
    done = await caretaker(RetentionPolicy(jobs=DAY)).make_round()
    assert done == {"compacted": count, "jobs": count, "swept": count}
    assert await job_ids(stores) == set()


async def test_a_dataset_goes_when_no_job_has_needed_it_for_so_long(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await ended_job(stores, objects, "job_1", "ds_used")
    await ended_job(stores, objects, "job_2", "ds_waited_for")
    await ended_job(stores, objects, "job_3", "ds_unused")
    await age(stores, 3 * DAY)
    await ended_job(stores, objects, "job_4", "ds_used")
    await stores.queued_job("job_5", "ds_waited_for")
    await age(stores, DAY)
    clean_up = caretaker(RetentionPolicy(datasets=2 * DAY))
    assert (await clean_up.make_round())["datasets"] == 1
    assert await dataset_ids(stores) == {"ds_used", "ds_waited_for"}
    await age(stores, DAY)
    assert (await clean_up.make_round())["datasets"] == 1
    assert await dataset_ids(stores) == {"ds_waited_for"}, "as long as a job waits"


async def test_the_last_use_of_a_dataset_outlives_the_job(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await ended_job(stores, objects)
    await age(stores, 5 * DAY)
    await ended_job(stores, objects, "job_2")
    used = (await stores.datasets.get_dataset("ds_1")).unused_since
    await stores.jobs.delete_job("job_2")
    assert (await stores.datasets.get_dataset("ds_1")).unused_since == used
    await caretaker(RetentionPolicy(datasets=DAY)).make_round()
    assert await dataset_ids(stores) == {"ds_1"}


async def test_a_dataset_whose_upload_was_given_up_goes_and_one_in_ingest_stays(
    stores: Stores, caretaker: MakeCaretaker
) -> None:
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_upload", name="rows"))
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_ingest", name="rows", source_path="/somewhere"))
    await age(stores, 2 * DAY)
    await caretaker(RetentionPolicy(datasets=DAY)).make_round()
    assert await dataset_ids(stores) == {"ds_ingest"}


async def test_a_dataset_that_gets_a_job_after_it_was_found_stays(
    stores: Stores, objects: DirectoryObjectStore
) -> None:
    await ended_job(stores, objects)
    await age(stores, 2 * DAY)
    assert await stores.retention.expired_datasets(DAY, limit=10) == ["ds_1"]
    await stores.queued_job("job_2")
    assert not await stores.retention.expire_dataset("ds_1", DAY)
    assert (await stores.datasets.get_dataset("ds_1")).state is DatasetState.READY


async def test_old_events_go_and_watches_go_on_from_what_is_left(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await ended_job(stores, objects, "job_1")
    await age(stores, 2 * DAY)
    await ended_job(stores, objects, "job_2")
    clean_up = caretaker(RetentionPolicy(events=DAY, segments=None))
    assert await clean_up.make_round() == {"events": 3}
    with pytest.raises(SequenceTooOldError, match="the oldest kept is 4"):
        await stores.jobs.state_changes(2, limit=100)
    assert [change.sequence for change in await stores.jobs.state_changes(3, limit=100)] == [4, 5, 6]
    assert await stores.jobs.state_changes(6, limit=100) == []


async def test_when_all_events_are_gone_only_the_newest_sequence_is_not_too_old(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await ended_job(stores, objects)
    await age(stores, 2 * DAY)
    await caretaker(RetentionPolicy(events=DAY)).make_round()
    assert await stores.jobs.state_changes(3, limit=10) == []
    with pytest.raises(SequenceTooOldError):
        await stores.jobs.state_changes(2, limit=10)
    await stores.queued_job("job_2")
    assert [change.sequence for change in await stores.jobs.state_changes(3, limit=10)] == [4]


async def test_thousands_of_events_go_in_batches(stores: Stores, caretaker: MakeCaretaker) -> None:
    await stores.ready_dataset(1)
    await stores.queued_job()
    async with stores.database.connection() as connection:
        await connection.execute(
            "INSERT INTO job_events SELECT n, 'job_1', 'QUEUED', 'QUEUED', '', now() - interval '2 days', job"
            " FROM job_events, generate_series(2, $1::integer + 10) AS n",
            EVENTS_AT_ONCE,
        )
        await connection.execute("UPDATE job_events SET time = now() - interval '2 days'")
        await connection.execute("UPDATE event_clock SET sequence = $1", EVENTS_AT_ONCE + 10)
    assert await caretaker(RetentionPolicy(events=DAY)).make_round() == {"events": EVENTS_AT_ONCE + 10}
    async with stores.database.connection() as connection:
        # The job's last event is gone, and so is what the invariants would compare it with.
        assert await connection.fetchval("SELECT sequence FROM event_horizon") == EVENTS_AT_ONCE + 10


async def test_one_process_at_a_time_sees_to_it(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await ended_job(stores, objects)
    await age(stores, 2 * DAY)
    await stores.leases.register_scheduler("other", LEASE, exclusive=False)
    assert await stores.retention.take_turn("other", TURN)
    policy = RetentionPolicy(jobs=DAY)
    assert await caretaker(policy).make_round() == {}
    await age(stores, TURN)
    assert (await caretaker(policy).make_round())["jobs"] == 1, "the other one hangs"
    assert await stores.retention.take_turn("other", TURN), "the turn ends with the round"
    await stores.leases.unregister_scheduler("other")
    assert await stores.retention.take_turn("third", TURN), "the turn ends with the scheduler"


async def test_a_job_that_a_caller_deletes_at_the_same_time_is_no_trouble(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended_job(stores, objects)
    await age(stores, 2 * DAY)
    found = await stores.retention.expired_jobs(DAY, limit=10)
    await stores.jobs.delete_job("job_1")

    async def found_before(kept: timedelta, *, limit: int) -> list[str]:
        return found

    monkeypatch.setattr(stores.retention, "expired_jobs", found_before)
    await caretaker(RetentionPolicy(jobs=DAY)).make_round()
    with pytest.raises(NotFoundError):
        await stores.jobs.get_job("job_1")


async def test_a_dataset_tells_since_when_it_is_unused(stores: Stores, objects: DirectoryObjectStore) -> None:
    job = await ended_job(stores, objects)
    assert (await stores.datasets.get_dataset("ds_1")).unused_since == job.end_time
    policy = RetentionPolicy(jobs=DAY, datasets=2 * DAY)
    assert job.end_time is not None
    assert policy.job_expires(job) == job.end_time + DAY
    assert policy.dataset_expires(await stores.datasets.get_dataset("ds_1")) == job.end_time + 2 * DAY
    assert KEEP_ALL.job_expires(job) is None
    await stores.queued_job("job_2")
    used = await stores.datasets.get_dataset("ds_1")
    assert (used.unused_since, policy.dataset_expires(used)) == (None, None)
    await stores.jobs.move_job("job_2", JobEvent.CANCEL)
