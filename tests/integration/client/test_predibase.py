import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from grpc import StatusCode
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch.v1.dataset_pb2 import Dataset
from lorax_batch_client.errors import NotFoundError
from lorax_batch_client.predibase import BatchInferenceServerConfig, Predibase

from tests.integration.client.messages import job, part
from tests.integration.client.scripted_service import Abort, Service

CONFIG = BatchInferenceServerConfig(base_model="mistral-7b-instruct-v0-2")


@pytest.fixture
async def predibase(service: Service) -> AsyncIterator[Predibase]:
    client = Predibase(service.target)
    yield client
    await asyncio.to_thread(client.close)


async def test_creating_says_what_was_requested(
    predibase: Predibase, service: Service, capsys: pytest.CaptureFixture[str]
):
    service.script.expect("CreateJob", pb.CreateJobResponse(job=job()))
    created = await asyncio.to_thread(
        predibase.beta.batch_inference.create, dataset="file_uploads/rows", server_config=CONFIG
    )
    assert created.uuid == "job_1"
    assert capsys.readouterr().out == (
        "Successfully requested batch inference over file_uploads/rows using mistral-7b-instruct-v0-2 as job_1.\n"
    )


@pytest.mark.parametrize(
    ("state", "status", "error"),
    [
        (job_pb2.JOB_STATE_QUEUED, "queued", None),
        (job_pb2.JOB_STATE_RUNNING, "running", None),
        (job_pb2.JOB_STATE_SUCCEEDED, "completed", None),
        (job_pb2.JOB_STATE_CANCELLED, "canceled", None),
        (job_pb2.JOB_STATE_FAILED, "errored", "too many errors"),
        (job_pb2.JOB_STATE_EXPIRED, "errored", "too many errors"),
    ],
)
async def test_a_job_has_the_house_style_status(
    predibase: Predibase, service: Service, state: int, status: str, error: str | None
):
    config = job_pb2.ServerConfig(base_model="m", custom_args=["--x"])
    message = job(state, dataset_id="ds_1", reason="too many errors", server_config=config)
    service.script.expect("GetJob", pb.GetJobResponse(job=message))
    found = await asyncio.to_thread(predibase.batch_inference.get, "job_1")
    assert (found.status, found.error) == (status, error)
    assert found.original_request == {"dataset": "ds_1", "serverConfig": {"baseModel": "m", "customArgs": ["--x"]}}
    assert (found.result_path is not None) == (status == "completed")


async def test_a_list_stops_at_its_limit(predibase: Predibase, service: Service):
    page = pb.ListJobsResponse(jobs=[job(job_id="job_3"), job(job_id="job_2")], next_page_token="more")
    service.script.expect("ListJobs", page)
    found = await asyncio.to_thread(predibase.batch_inference.list, limit=2)
    assert [one.uuid for one in found] == ["job_3", "job_2"]
    assert service.script.requests[0].page_size == 2


async def test_a_job_is_cancelled_by_value(predibase: Predibase, service: Service):
    service.script.expect("GetJob", pb.GetJobResponse(job=job()))
    service.script.expect("CancelJob", pb.CancelJobResponse(job=job()))
    found = await asyncio.to_thread(predibase.batch_inference.get, "job_1")
    await asyncio.to_thread(predibase.batch_inference.cancel, found)
    assert service.script.requests[1].job_id == "job_1"


async def test_all_rows_are_downloaded_into_one_file(predibase: Predibase, service: Service, tmp_path: Path):
    output, errors = b'{"custom_id":"a"}\n', b'{"custom_id":"b"}\n'
    service.script.expect(
        "DownloadResults",
        [part(output, 0, len(output), first=True)],
        [part(errors, 0, len(errors), first=True)],
    )
    dest = tmp_path / "results.jsonl"
    await asyncio.to_thread(predibase.batch_inference.download_results, "job_1", dest=dest)
    assert dest.read_bytes() == output + errors


async def test_a_dataset_is_uploaded_and_found_again(predibase: Predibase, tmp_path: Path, service: Service):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    dataset = await asyncio.to_thread(predibase.datasets.from_file, str(path), name="mine")
    assert service.datasets.starts[0].name == "mine"
    assert (await asyncio.to_thread(predibase.datasets.get, dataset.dataset_id)).dataset_id == dataset.dataset_id
    await asyncio.to_thread(predibase.datasets.from_file, path)
    assert service.datasets.starts[1].name == "rows", "as the SDK calls it"


async def test_a_dataset_may_be_named_with_the_connection_of_uploads(predibase: Predibase, service: Service):
    service.datasets.shown = {"rows": Dataset(dataset_id="ds_1"), "file_uploads/odd": Dataset(dataset_id="ds_2")}
    assert (await asyncio.to_thread(predibase.datasets.get, "file_uploads/rows")).dataset_id == "ds_1"
    assert (await asyncio.to_thread(predibase.datasets.get, "file_uploads/odd")).dataset_id == "ds_2"
    with pytest.raises(NotFoundError, match="snowflake/rows"):
        await asyncio.to_thread(predibase.datasets.get, "snowflake/rows")
    service.script.expect(
        "CreateJob", Abort(code=StatusCode.NOT_FOUND, text="no dataset"), pb.CreateJobResponse(job=job())
    )
    await asyncio.to_thread(predibase.batch_inference.create, dataset="file_uploads/rows", server_config=CONFIG)
    assert [request.dataset for request in service.script.requests] == ["file_uploads/rows", "rows"]


def test_a_config_travels_in_camel_case_and_keeps_unknown_keys():
    config = BatchInferenceServerConfig.model_validate(
        {"baseModel": "m", "customArgs": ["--x"], "hfToken": "t", "loraxImageTag": "main", "newKey": 1}
    )
    assert config.to_wire() == {
        "baseModel": "m",
        "customArgs": ["--x"],
        "hfToken": "t",
        "loraxImageTag": "main",
        "newKey": 1,
    }
    assert "'t'" not in repr(config)
    with pytest.warns(UserWarning, match="no use for newKey"):
        assert config.to_server_config().hf_token == "t"


def test_a_config_is_taken_from_a_deployment_object():
    settings = SimpleNamespace(
        custom_args=["--x"], hf_token="t", lorax_image_tag="main", backend="fa2", cooldown_time=9
    )
    config = BatchInferenceServerConfig.from_deployment(
        SimpleNamespace(name="dep", model="mistral-7b", quantization="awq", config=settings)
    )
    assert config == BatchInferenceServerConfig(
        base_model="mistral-7b",
        quantization="awq",
        custom_args=["--x"],
        hf_token="t",
        lorax_image_tag="main",
        backend="fa2",
    )


def test_a_config_is_taken_from_a_deployment_mapping():
    config = BatchInferenceServerConfig.from_deployment(
        {"model": {"name": "m"}, "quantization": None, "config": {"customArgs": ["--x"], "loraxImageTag": "main"}}
    )
    assert (config.base_model, config.custom_args, config.lorax_image_tag) == ("m", ["--x"], "main")


def test_a_deployment_without_a_model_is_refused():
    with pytest.raises(ValueError, match="names no model"):
        BatchInferenceServerConfig.from_deployment({"name": "dep"})
