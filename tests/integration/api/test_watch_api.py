"""WatchJobs: snapshot, every state change once, progress, resuming, ending."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch_scheduler.job import JobEvent

from tests.integration.api.conftest import Api, refusal
from tests.integration.api.finished_job import claim, commit, run_rows, settle

Watch = grpc.aio.UnaryStreamCall[pb.WatchJobsRequest, pb.WatchJobsResponse]


async def read_until(watch: Watch, kind: str) -> list[pb.WatchJobsResponse]:
    """Return the messages up to the first one of a kind."""
    messages = []
    async with asyncio.timeout(10):
        async for message in watch:
            messages.append(message)
            if message.WhichOneof("event") == kind:
                return messages
    raise AssertionError(f"ended without {kind}: {messages}")


async def read_all(watch: Watch) -> list[pb.WatchJobsResponse]:
    """Return every message of a watch that ends."""
    async with asyncio.timeout(10):
        return [message async for message in watch]


def moves(messages: list[pb.WatchJobsResponse]) -> list[tuple[int, str]]:
    """Return the state changes as (sequence, state)."""
    return [
        (message.sequence, job_pb2.JobState.Name(message.state_change.to_state).removeprefix("JOB_STATE_"))
        for message in messages
        if message.WhichOneof("event") == "state_change"
    ]


def adds_up(counts: job_pb2.Counts) -> bool:
    return counts.total == (
        counts.pending + counts.in_flight + counts.retrying + counts.succeeded + counts.failed
        + counts.cancelled + counts.expired + counts.invalid
    )  # fmt: skip


async def queued(api: Api, *job_ids: str) -> None:
    await api.stores.ready_dataset(6)
    for job_id in job_ids:
        await api.stores.queued_job(job_id)


async def run_to_the_end(api: Api, job_id: str) -> None:
    await api.stores.jobs.move_job(job_id, JobEvent.ASSIGN)
    await api.stores.jobs.move_job(job_id, JobEvent.START)
    await run_rows(api.stores, job_id, 6, failed={1})
    await settle(api, job_id, JobEvent.ROWS_DONE)


async def test_named_jobs_are_told_from_a_snapshot_to_their_end(api: Api) -> None:
    await queued(api, "job_1", "job_2")
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=["job_1"]))
    opening = await read_until(watch, "heartbeat")
    assert [message.WhichOneof("event") for message in opening] == ["snapshot", "heartbeat"]
    assert opening[0].snapshot.job_id == "job_1"
    assert opening[1].sequence == 2
    await run_to_the_end(api, "job_1")
    messages = await read_all(watch)
    assert moves(messages) == [(3, "STARTING"), (4, "RUNNING"), (5, "FINALIZING"), (6, "SUCCEEDED")]
    jobs = [message.state_change.job for message in messages if message.HasField("state_change")]
    assert all(adds_up(job.counts) and job.counts.total == 6 for job in jobs)
    assert (jobs[-1].counts.succeeded, jobs[-1].counts.failed) == (5, 1)
    assert jobs[-1].output_file.byte_count == 7
    assert await watch.code() is grpc.StatusCode.OK


async def test_a_watch_of_jobs_that_have_ended_ends_after_the_snapshot(api: Api) -> None:
    await queued(api, "job_1")
    await run_to_the_end(api, "job_1")
    messages = await read_all(api.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=["job_1"])))
    assert [message.WhichOneof("event") for message in messages] == ["snapshot", "heartbeat"]


async def test_progress_is_told_between_state_changes(api: Api) -> None:
    await queued(api, "job_1")
    chunk = await claim(api.stores, "job_1")
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest())
    await read_until(watch, "heartbeat")
    await commit(api.stores, chunk, [0, 1, 2])
    progress = (await read_until(watch, "progress"))[-1].progress
    assert (progress.counts.succeeded, progress.counts.in_flight, progress.counts.retrying) == (3, 2, 1)
    assert adds_up(progress.counts)
    assert progress.progress.fraction == pytest.approx(0.5)
    watch.cancel()


async def test_a_watch_goes_on_behind_a_sequence_without_a_gap_or_a_repeat(api: Api) -> None:
    await queued(api, "job_1")
    first = api.jobs.WatchJobs(pb.WatchJobsRequest())
    seen = (await read_until(first, "heartbeat"))[-1].sequence
    await api.stores.jobs.move_job("job_1", JobEvent.ASSIGN)
    told = moves(await read_until(first, "state_change"))
    first.cancel()
    await api.stores.jobs.move_job("job_1", JobEvent.START)
    await api.stores.jobs.move_job("job_1", JobEvent.PAUSE)
    second = api.jobs.WatchJobs(pb.WatchJobsRequest(after_sequence=told[-1][0]))
    await api.stores.jobs.move_job("job_1", JobEvent.RESUME)
    while len(told) < 4:
        told += moves(await read_until(second, "state_change"))
    assert told == [(seen + 1, "STARTING"), (seen + 2, "RUNNING"), (seen + 3, "PAUSED"), (seen + 4, "QUEUED")]
    second.cancel()


async def test_a_resumed_watch_of_a_named_job_tells_its_end_and_ends(api: Api) -> None:
    await queued(api, "job_1")
    await run_to_the_end(api, "job_1")
    messages = await read_all(api.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=["job_1"], after_sequence=3)))
    assert moves(messages) == [(4, "FINALIZING"), (5, "SUCCEEDED")]
    again = api.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=["job_1"], after_sequence=5))
    assert await read_all(again) == []


async def test_a_sequence_that_is_no_longer_kept_or_not_reached_is_out_of_range(api: Api) -> None:
    await queued(api, "job_1", "job_2")
    assert await api.stores.retention.expire_events(timedelta(0), limit=1) == 1
    for after in (0, 99):
        watch = api.jobs.WatchJobs(pb.WatchJobsRequest(after_sequence=after))
        told = await refusal(read_all(watch))
        assert (told.code, told.reason) == (grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_TOO_OLD")


async def test_a_filter_also_tells_jobs_made_later_and_moves_out_of_its_states(api: Api) -> None:
    await api.stores.ready_dataset(6)
    where = pb.JobFilter(states=[job_pb2.JOB_STATE_QUEUED], labels={"team": "a"})
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest(filter=where))
    await read_until(watch, "heartbeat")
    await api.stores.queued_job("job_other")
    await api.stores.queued_job("job_1", labels={"team": "a"})
    created = (await read_until(watch, "state_change"))[-1].state_change
    assert (created.job.job_id, created.from_state) == ("job_1", job_pb2.JOB_STATE_UNSPECIFIED)
    await api.stores.jobs.move_job("job_1", JobEvent.ASSIGN)
    await api.stores.jobs.move_job("job_1", JobEvent.START)
    await api.stores.jobs.move_job("job_1", JobEvent.REQUEUE)
    told: list[tuple[int, str]] = []
    while len(told) < 2:
        told += moves(await read_until(watch, "state_change"))
    assert [state for _, state in told] == ["STARTING", "QUEUED"]
    watch.cancel()


async def test_a_deletion_is_told_in_its_place(api: Api) -> None:
    await queued(api, "job_1", "job_2")
    await run_to_the_end(api, "job_1")
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest())
    await read_until(watch, "heartbeat")
    await api.stores.jobs.delete_job("job_1")
    deleted = (await read_until(watch, "deleted"))[-1]
    assert (deleted.sequence, deleted.deleted) == (7, "job_1")
    watch.cancel()
    resumed = await read_all(api.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=["job_1"], after_sequence=6)))
    assert [message.deleted for message in resumed] == ["job_1"]


async def test_a_named_job_that_does_not_exist_is_not_found(api: Api) -> None:
    await queued(api, "job_1")
    told = await refusal(read_all(api.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=["job_1", "job_9"]))))
    assert told.code is grpc.StatusCode.NOT_FOUND
    wrong = pb.WatchJobsRequest(job_ids=[""], after_sequence=-1)
    assert (await refusal(read_all(api.jobs.WatchJobs(wrong)))).fields.keys() == {"job_ids[0]", "after_sequence"}


async def test_a_silent_watch_has_heartbeats(api: Api) -> None:
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest())
    for _ in range(3):
        assert len(await read_until(watch, "heartbeat")) == 1
    watch.cancel()


async def test_a_slow_reader_still_gets_every_state_change_once(api: Api) -> None:
    await queued(api, *(f"job_{number}" for number in range(1, 41)))
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest())
    snapshot = await read_until(watch, "heartbeat")
    assert len(snapshot) == 41
    for number in range(1, 41):  # nothing is read meanwhile
        await api.stores.jobs.move_job(f"job_{number}", JobEvent.PAUSE)
        await api.stores.jobs.move_job(f"job_{number}", JobEvent.RESUME)
    told: list[tuple[int, str]] = []
    while len(told) < 80:
        told += moves(await read_until(watch, "state_change"))
    assert told == [(41 + n, "QUEUED" if n % 2 else "PAUSED") for n in range(80)]
    watch.cancel()


async def test_a_shutdown_ends_watches_at_once(api: Api) -> None:
    await queued(api, "job_1")
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest())
    await read_until(watch, "heartbeat")
    async with asyncio.timeout(5):
        await api.server.stop(30)
    told = await refusal(read_all(watch))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_watches_go_on_when_wake_ups_were_lost(api: Api) -> None:
    await queued(api, "job_1")
    chunk = await claim(api.stores, "job_1")
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=["job_1"]))
    await read_until(watch, "heartbeat")
    async with api.stores.database.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        )
    await commit(api.stores, chunk, [0, 1])
    await api.stores.jobs.move_job("job_1", JobEvent.PAUSE)
    assert moves(await read_until(watch, "state_change"))[-1][1] == "PAUSED"
    watch.cancel()
