"""A client with several targets: what one replica can't answer any more, the next one does."""

from collections.abc import AsyncIterator

import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch_client import JobState, RetryPolicy
from lorax_batch_client.errors import UnavailableError

from tests.integration.client.conftest import Caller
from tests.integration.client.messages import change, heartbeat, job, snapshot
from tests.integration.client.scripted_service import UNAVAILABLE, Service, start_service

RUNNING, SUCCEEDED = job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED
NEVER = "127.0.0.1:1"


@pytest.fixture
async def other() -> AsyncIterator[Service]:
    service = await start_service()
    yield service
    await service.server.stop(None)


@pytest.fixture(params=["aio", "sync"])
async def pair(service: Service, other: Service, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """Yield a caller of both, which begins with `service`."""
    caller = Caller(f"{service.target},{other.target}", request.param, RetryPolicy())
    yield caller
    await caller.close()


async def test_a_watch_goes_on_at_the_other_behind_its_last_sequence(pair: Caller, service: Service, other: Service):
    service.script.expect("WatchJobs", [snapshot(5), heartbeat(5), change(6, RUNNING), UNAVAILABLE])
    other.script.expect("WatchJobs", [change(7, SUCCEEDED)])
    events = await pair.collect("watch", "job_1")
    assert [event.sequence for event in events] == [5, 6, 7]
    assert other.script.requests[0].after_sequence == 6


async def test_a_repeatable_call_is_answered_by_the_other_and_so_are_the_next(
    pair: Caller, service: Service, other: Service
):
    service.script.expect("GetJob", *[UNAVAILABLE] * 2)  # gRPC's own second attempt is one of them
    other.script.expect("GetJob", *[pb.GetJobResponse(job=job(RUNNING))] * 2)
    for _ in range(2):
        assert (await pair.ask("get_job", "job_1")).state is JobState.RUNNING
    assert service.script.answers == {"GetJob": []}


async def test_a_deletion_is_not_repeated_but_the_next_call_goes_elsewhere(
    pair: Caller, service: Service, other: Service
):
    service.script.expect("DeleteJob", UNAVAILABLE)
    with pytest.raises(UnavailableError):
        await pair.ask("delete_job", "job_1")
    assert other.script.requests == []
    other.script.expect("DeleteJob", pb.DeleteJobResponse())
    await pair.ask("delete_job", "job_1")


@pytest.mark.parametrize("kind", ["aio", "sync"])
async def test_the_first_replica_need_not_be_there(other: Service, kind: str):
    other.script.expect("GetJob", pb.GetJobResponse(job=job(RUNNING)))
    caller = Caller(f"{NEVER}, {other.target}", kind)
    assert (await caller.ask("get_job", "job_1")).state is JobState.RUNNING
    await caller.close()


@pytest.mark.parametrize("kind", ["aio", "sync"])
async def test_when_none_is_there_the_last_is_named(kind: str):
    caller = Caller(f"{NEVER},127.0.0.1:2", kind)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:2"):
        await caller.ask("get_job", "job_1")
    await caller.close()
