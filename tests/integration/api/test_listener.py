"""The listener: health, reflection, limits, its address, and how it stops."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import datasets_pb2
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.listen_address import ListenAddress
from prometheus_client import generate_latest

from tests.integration.api.conftest import Api, refusal


async def test_health_tells_of_every_service(api: Api) -> None:
    health = health_pb2_grpc.HealthStub(api.channel)
    for service in ("", "lorax_batch.v1.BatchInference", "lorax_batch.v1.Datasets", "lorax_batch.v1.Fleet"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(api: Api) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    (answer,) = [answer async for answer in call]
    assert {service.name for service in answer.list_services_response.service} >= {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "lorax_batch.v1.BatchInference",
        "lorax_batch.v1.Datasets",
        "lorax_batch.v1.Fleet",
        "lorax_batch.v1.Webhooks",
    }


async def test_an_upload_message_may_have_4_mib_and_no_more(api: Api) -> None:
    for extra, code in ((0, grpc.StatusCode.OK), (1 << 20, grpc.StatusCode.RESOURCE_EXHAUSTED)):
        call = api.datasets.UploadDataset()
        try:
            await call.write(datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart()))
            await call.write(datasets_pb2.UploadDatasetRequest(data=bytes((4 << 20) + extra)))
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        assert await call.code() is code


async def test_a_taken_port_is_a_configuration_error_with_a_way_out(api: Api) -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken:
        with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{port}.*--listen"):
            await api.server.start(ListenAddress(host="127.0.0.1", port=port))


async def test_stopping_ends_what_waits_and_refuses_new_calls(api: Api) -> None:
    upload = api.datasets.UploadDataset()
    await upload.write(datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart()))
    await api.jobs.ListJobs(pb.ListJobsRequest())
    watch = health_pb2_grpc.HealthStub(api.channel).Watch(health_pb2.HealthCheckRequest())
    statuses = aiter(watch)
    assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.SERVING
    stopping = asyncio.create_task(api.server.stop(30))
    assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    async with asyncio.timeout(10):
        await stopping
    code = (await refusal(upload)).code
    assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_calls_are_counted_by_method_and_code(api: Api) -> None:
    await api.jobs.ListJobs(pb.ListJobsRequest())
    await refusal(api.jobs.GetJob(pb.GetJobRequest(job_id="job_9")))
    text = generate_latest(api.registry).decode()
    assert 'lorax_batch_grpc_calls_total{code="OK",method="ListJobs"} 1.0' in text
    assert 'lorax_batch_grpc_calls_total{code="NOT_FOUND",method="GetJob"} 1.0' in text
    assert 'lorax_batch_grpc_open_calls{method="GetJob"} 0.0' in text


async def test_a_caller_that_goes_away_frees_its_watch(api: Api) -> None:
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest())
    other = api.jobs.WatchJobs(pb.WatchJobsRequest())
    assert await watch.read()
    assert await other.read()
    assert "lorax_batch_watchers 2.0" in generate_latest(api.registry).decode()
    watch.cancel()
    async with asyncio.timeout(10):
        while "lorax_batch_watchers 1.0" not in generate_latest(api.registry).decode():
            assert await other.read()  # a heartbeat
    other.cancel()


async def test_thousands_of_callers_at_once_are_all_answered(api: Api) -> None:
    await api.stores.ready_dataset(1)
    await api.stores.queued_job("job_1")
    request = pb.GetJobRequest(job_id="job_1")
    calls = [api.jobs.GetJob(request, timeout=60) for _ in range(3_000)]
    async with asyncio.timeout(60):
        codes = [await call.code() for call in calls]
    assert set(codes) == {grpc.StatusCode.OK}
