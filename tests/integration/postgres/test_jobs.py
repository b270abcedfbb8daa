"""Jobs, their moves and their events, as PostgreSQL keeps them."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from lorax_batch_scheduler.dataset import DatasetState, InvalidReport, NewDataset
from lorax_batch_scheduler.errors import InvalidInputError, NotFoundError, SequenceTooOldError, StateConflictError
from lorax_batch_scheduler.job import JobEvent, JobFilter, JobState
from lorax_batch_scheduler.job_secrets import JobSecrets

from tests.integration.postgres.conftest import Stores, new_job


async def test_a_job_of_a_ready_dataset_is_queued_with_its_rows(stores: Stores) -> None:
    await stores.ready_dataset(5, 12, invalid_rows=3)
    job = await stores.queued_job(labels={"team": "a"}, secrets=JobSecrets(hf_token="hf_secret"))
    assert (job.state, job.counts.total, job.counts.pending) == (JobState.QUEUED, 20, 20)
    assert job.queue_position == 1
    assert "hf_secret" not in repr(job)
    assert (await stores.jobs.secrets("job_1")).hf_token == "hf_secret"
    left = await stores.leases.rows_left(["job_1"])
    assert [(x.kind, x.model, x.row_count) for x in left] == [
        ("INVALID", "", 3), ("ROWS", "adapter-0", 5), ("ROWS", "adapter-1", 12)]  # fmt: skip


async def test_the_longest_rows_that_are_left_are_told(stores: Stores) -> None:
    """What a row does not set has the default of its job."""
    await stores.ready_dataset(5, 12, invalid_rows=3)
    job = await stores.queued_job()
    (lengths,) = await stores.leases.row_lengths([job.job_id, "job_9"])
    assert (lengths.job_id, lengths.longest_prompt_tokens) == (job.job_id, 20)
    assert lengths.largest_max_tokens == max(100, job.default_max_tokens)


async def test_a_repeated_request_answers_with_the_first_job(stores: Stores) -> None:
    await stores.ready_dataset(5)
    first = await stores.queued_job("job_1", request_id="r")
    second = await stores.queued_job("job_2", request_id="r")
    assert second.job_id == first.job_id
    assert (await stores.jobs.find_job_by_request("r")) == first
    assert await stores.jobs.find_job_by_request("other") is None


async def test_a_job_waits_for_its_dataset_and_is_queued_when_it_is_ready(stores: Stores) -> None:
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_2", name="later", source_path="/x"))
    job = await stores.queued_job("job_1", "ds_2")
    assert (job.state, job.counts.total) == (JobState.VALIDATING, 0)
    async with stores.claimed("ds_2") as scheduler_id:
        report = InvalidReport(line_count=12)
        await stores.datasets.fail_ingest("ds_2", "12 invalid lines", report, None, scheduler_id=scheduler_id)
    job = await stores.jobs.get_job("job_1")
    assert (job.state, job.reason) == (JobState.FAILED, "dataset 'ds_2' failed: 12 invalid lines")
    assert job.end_time is not None
    with pytest.raises(InvalidInputError, match="failed validation"):
        await stores.queued_job("job_2", "ds_2")


async def test_every_move_is_an_event_without_gaps(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    for event in (JobEvent.ASSIGN, JobEvent.START, JobEvent.PAUSE, JobEvent.RESUME, JobEvent.CANCEL):
        await stores.jobs.move_job("job_1", event, reason=event.lower())
    changes = await stores.jobs.state_changes(0, limit=100)
    assert [change.sequence for change in changes] == [1, 2, 3, 4, 5, 6]
    assert [(change.from_state, change.to_state) for change in changes][-1] == (JobState.QUEUED, JobState.CANCELLING)
    assert changes[-1].job is not None
    assert changes[2].job is not None
    assert changes[-1].job.state is JobState.CANCELLING
    assert changes[2].job.start_time is not None
    assert changes[-1].job.counts.total == 5
    assert await stores.jobs.latest_sequence() == 6
    assert [c.sequence for c in await stores.jobs.state_changes(4, limit=1)] == [5]


async def test_a_forbidden_move_changes_nothing(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    with pytest.raises(StateConflictError, match="must be PAUSED"):
        await stores.jobs.move_job("job_1", JobEvent.RESUME)
    assert await stores.jobs.latest_sequence() == 1
    with pytest.raises(NotFoundError, match="no job 'job_9'"):
        await stores.jobs.move_job("job_9", JobEvent.CANCEL)


async def test_events_that_are_no_longer_kept_are_said_to_be_too_old(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    await stores.jobs.move_job("job_1", JobEvent.CANCEL)
    assert await stores.retention.expire_events(timedelta(0), limit=1) == 1
    with pytest.raises(SequenceTooOldError, match="the oldest kept is 2"):
        await stores.jobs.state_changes(0, limit=10)
    assert len(await stores.jobs.state_changes(1, limit=10)) == 1


async def test_many_moves_at_once_keep_the_sequence_dense(stores: Stores) -> None:
    await stores.ready_dataset(5)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(stores.queued_job(f"job_{number}"))
    changes = await stores.jobs.state_changes(0, limit=100)
    assert [change.sequence for change in changes] == list(range(1, 21))


async def test_lists_are_paged_and_filtered(stores: Stores) -> None:
    await stores.ready_dataset(5)
    for number in range(5):
        await stores.queued_job(f"job_{number}", labels={"n": str(number % 2)})
    page = await stores.jobs.list_jobs(JobFilter(), page_size=3, page_token="")
    assert [job.job_id for job in page.items] == ["job_4", "job_3", "job_2"]
    rest = await stores.jobs.list_jobs(JobFilter(), page_size=3, page_token=page.next_token)
    assert ([job.job_id for job in rest.items], rest.next_token) == (["job_1", "job_0"], "")
    odd = await stores.jobs.list_jobs(JobFilter(labels={"n": "1"}), page_size=10, page_token="")
    assert [job.job_id for job in odd.items] == ["job_3", "job_1"]
    none = await stores.jobs.list_jobs(JobFilter(states=[JobState.PAUSED]), page_size=10, page_token="")
    assert none.items == []
    with pytest.raises(InvalidInputError, match="no page token"):
        await stores.jobs.list_jobs(JobFilter(), page_size=3, page_token="nonsense")


async def test_the_queue_position_follows_priority_then_age(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job("job_1")
    await stores.queued_job("job_2", priority=5)
    assert (await stores.jobs.get_job("job_1")).queue_position == 2
    await stores.jobs.update_job("job_1", priority=6)
    assert (await stores.jobs.get_job("job_1")).queue_position == 1


async def test_deadline_and_labels_change_until_the_job_ends(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job(deadline=datetime.now(UTC) + timedelta(hours=1))
    job = await stores.jobs.update_job("job_1", clear_deadline=True, labels={"a": "b"})
    assert (job.deadline, job.labels) == (None, {"a": "b"})


async def test_only_an_ended_job_is_deleted_and_watchers_hear_of_it(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    with pytest.raises(StateConflictError, match="must be ended"):
        await stores.jobs.delete_job("job_1")


async def test_a_dataset_in_use_is_not_deleted(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    with pytest.raises(StateConflictError, match="in use by job_1"):
        await stores.datasets.delete_dataset("ds_1")


async def test_the_schema_refuses_a_count_that_does_not_add_up(stores: Stores) -> None:
    await stores.ready_dataset(5)
    await stores.queued_job()
    async with stores.database.connection() as connection:
        for statement in (
            "UPDATE jobs SET succeeded = 1",
            "UPDATE jobs SET succeeded = 6, result_count = 6",
            "UPDATE job_chunks SET done_count = 1",
            "UPDATE jobs SET state = 'SUCCEEDED'",
        ):
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(statement)


async def test_a_change_wakes_listeners(stores: Stores) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    stores.jobs.on_change(heard.put_nowait)
    async with asyncio.timeout(10):
        assert await heard.get() == ""
        await stores.ready_dataset(5)
        await stores.jobs.create_job(new_job())
        assert await heard.get() == "job_1"


async def test_an_unknown_dataset_is_said_by_name(stores: Stores) -> None:
    with pytest.raises(NotFoundError, match="no dataset 'ds_7'"):
        await stores.queued_job("job_1", "ds_7")
    dataset = await stores.ready_dataset(5)
    assert dataset.state is DatasetState.READY
    assert (await stores.datasets.get_dataset("rows")).dataset_id == "ds_1"
