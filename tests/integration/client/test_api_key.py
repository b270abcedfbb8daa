"""The key goes with every call, and calls that come too often are made again."""

from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch_client import AsyncClient
from lorax_batch_client.errors import ResourceExhaustedError, UnauthenticatedError

from tests.integration.client.scripted_service import Abort, Service, reason


def limited(seconds: float, why: str = "RATE_LIMITED") -> Abort:
    delay = Duration()
    delay.FromTimedelta(timedelta(seconds=seconds))
    details = (reason(why), error_details_pb2.RetryInfo(retry_delay=delay))
    return Abort(code=grpc.StatusCode.RESOURCE_EXHAUSTED, text="too often", details=details)


class Sleeps(list[float]):
    """Remembers how long it was asked to sleep, and does not."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


async def test_a_call_that_comes_too_often_is_made_again(service: Service) -> None:
    sleeps = Sleeps()
    service.script.expect("GetJob", limited(0.5), limited(2), pb.GetJobResponse())
    async with AsyncClient(service.target, api_key="lxb_a", sleep=sleeps) as client:
        await client.get_job("job_1")
    assert sleeps == [0.5, 2.0]


async def test_waiting_has_an_end(service: Service) -> None:
    sleeps = Sleeps()
    service.script.expect("GetJob", limited(20), limited(20))
    async with AsyncClient(service.target, sleep=sleeps) as client:
        with pytest.raises(ResourceExhaustedError):
            await client.get_job("job_1")
    assert sleeps == [20.0]


async def test_a_quota_that_is_used_up_is_not_waited_for(service: Service) -> None:
    sleeps = Sleeps()
    service.script.expect("GetJob", limited(1, "QUOTA_EXCEEDED"))
    service.script.expect("WatchJobs", limited(1, "QUOTA_EXCEEDED"))
    async with AsyncClient(service.target, sleep=sleeps) as client:
        with pytest.raises(ResourceExhaustedError):
            await client.get_job("job_1")
        with pytest.raises(ResourceExhaustedError):
            async for _ in client.watch():
                pass
    assert sleeps == []


async def test_a_bad_key_ends_a_watch_at_once(service: Service) -> None:
    refused = Abort(code=grpc.StatusCode.UNAUTHENTICATED, details=(reason("API_KEY_REVOKED"),))
    service.script.expect("WatchJobs", refused)
    async with AsyncClient(service.target, api_key="lxb_a") as client:
        with pytest.raises(UnauthenticatedError) as told:
            async for _ in client.watch():
                pass
    assert told.value.reason == "API_KEY_REVOKED"


@pytest.mark.parametrize("key", ["a b", "a\n", "ä"])
def test_what_can_not_be_a_key_is_refused_before_it_is_sent(key: Any) -> None:
    with pytest.raises(ValueError, match="characters that no key has"):
        AsyncClient("localhost:1", api_key=key)
