import grpc
import pytest
from lorax_batch.v1 import job_pb2
from lorax_batch.v1.batch_inference_pb2 import GetJobResponse
from lorax_batch_client import JobFilter, JobProgressed, JobSnapshot, JobState, JobStateChanged
from lorax_batch_client.errors import NotFoundError, UnavailableError

from tests.integration.client.conftest import Caller
from tests.integration.client.messages import change, heartbeat, job, progress, snapshot
from tests.integration.client.scripted_service import UNAVAILABLE, Abort, Service, reason

RUNNING, SUCCEEDED = job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED


async def test_events_are_typed_and_heartbeats_are_hidden(caller: Caller, service: Service):
    service.script.expect(
        "WatchJobs", [snapshot(1), heartbeat(1), change(2, RUNNING), progress(2), change(3, SUCCEEDED)]
    )
    events = await caller.collect("watch", "job_1")
    assert [type(event) for event in events] == [JobSnapshot, JobStateChanged, JobProgressed, JobStateChanged]
    assert events[-1].to_state is JobState.SUCCEEDED


async def test_a_broken_watch_goes_on_behind_its_last_sequence(caller: Caller, service: Service):
    service.script.expect(
        "WatchJobs",
        [snapshot(1), heartbeat(1), change(2, RUNNING), UNAVAILABLE],
        UNAVAILABLE,
        [change(3, SUCCEEDED)],
    )
    events = await caller.collect("watch", "job_1")
    assert [event.sequence for event in events] == [1, 2, 3]
    assert [request.after_sequence for request in service.script.requests[1:]] == [2, 2]


async def test_a_watch_that_breaks_within_its_snapshot_begins_anew(caller: Caller, service: Service):
    service.script.expect("WatchJobs", [snapshot(5), UNAVAILABLE], [snapshot(5, SUCCEEDED), heartbeat(5)])
    await caller.collect("watch", ["job_1", "job_2"])
    assert not service.script.requests[1].HasField("after_sequence")


async def test_a_watch_that_breaks_behind_the_snapshot_of_every_named_job_shows_none_again(
    caller: Caller, service: Service
):
    service.script.expect("WatchJobs", [snapshot(5), UNAVAILABLE], [change(6, SUCCEEDED)])
    events = await caller.collect("watch", "job_1")
    assert [type(event) for event in events] == [JobSnapshot, JobStateChanged]
    assert service.script.requests[1].after_sequence == 5


async def test_a_state_change_that_a_snapshot_has_shown_is_not_told_after_a_break(caller: Caller, service: Service):
    ahead = snapshot(5, RUNNING)
    ahead.snapshot.sequence = 6
    service.script.expect("WatchJobs", [ahead, UNAVAILABLE], [change(6, RUNNING), change(7, SUCCEEDED)])
    events = await caller.collect("watch", "job_1")
    assert [event.sequence for event in events] == [5, 7]


async def test_a_state_change_that_comes_twice_is_passed_on_once(caller: Caller, service: Service):
    service.script.expect(
        "WatchJobs",
        [snapshot(1), heartbeat(1), change(2, RUNNING), UNAVAILABLE],
        [change(2, RUNNING), change(3, SUCCEEDED)],
    )
    assert [event.sequence for event in await caller.collect("watch", "job_1")] == [1, 2, 3]


async def test_a_sequence_that_is_too_old_begins_anew_with_a_snapshot(caller: Caller, service: Service):
    too_old = Abort(code=grpc.StatusCode.OUT_OF_RANGE, details=(reason("SEQUENCE_TOO_OLD"),))
    service.script.expect("WatchJobs", too_old, [snapshot(90, SUCCEEDED), heartbeat(90)])
    events = await caller.collect("watch", "job_1", after_sequence=7)
    assert [event.sequence for event in events] == [90]


async def test_a_permanent_error_is_raised(caller: Caller, service: Service):
    service.script.expect("WatchJobs", Abort(code=grpc.StatusCode.NOT_FOUND, text="no job 'job_1'"))
    with pytest.raises(NotFoundError, match="no job 'job_1'"):
        await caller.collect("watch", "job_1")


async def test_a_filter_travels_with_the_watch(caller: Caller, service: Service):
    service.script.expect("WatchJobs", Abort(code=grpc.StatusCode.PERMISSION_DENIED))
    with pytest.raises(Exception, match="scripted"):
        await caller.collect("watch", JobFilter(states=(JobState.RUNNING,), labels={"team": "a"}))
    assert service.script.requests[0].filter.states == [RUNNING]
    assert service.script.requests[0].filter.labels == {"team": "a"}


async def test_waiting_returns_the_job_as_it_ended(caller: Caller, service: Service):
    service.script.expect("WatchJobs", [snapshot(1), heartbeat(1), UNAVAILABLE], [change(3, SUCCEEDED)])
    assert (await caller.ask("wait", "job_1")).state is JobState.SUCCEEDED


async def test_waiting_for_a_job_that_has_ended_asks_once(caller: Caller, service: Service):
    service.script.expect("WatchJobs", [])
    service.script.expect("GetJob", GetJobResponse(job=job(SUCCEEDED)))
    assert (await caller.ask("wait", "job_1")).state is JobState.SUCCEEDED


async def test_a_service_that_is_not_there_is_named(caller: Caller, service: Service):
    await service.server.stop(None)
    with pytest.raises(UnavailableError, match=f"can't reach the lorax-batch service at {service.target}"):
        await caller.collect("watch", "job_1")
