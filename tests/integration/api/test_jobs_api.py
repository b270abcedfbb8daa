"""Jobs through the API: created, listed, changed, ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch_scheduler.dataset import NewDataset
from lorax_batch_scheduler.job import JobEvent

from tests.integration.api.conftest import Api, refusal
from tests.integration.api.finished_job import run_rows, settle


def create(dataset: str = "ds_1", **fields: object) -> pb.CreateJobRequest:
    config = job_pb2.ServerConfig(base_model="Mistralai/Mistral-7B-v0.1", hf_token="hf_secret")
    return pb.CreateJobRequest(dataset=dataset, server_config=config, **fields)  # type: ignore[arg-type]


def in_future(**delta: float) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(datetime.now(UTC) + timedelta(**delta))
    return time


async def test_a_job_comes_back_as_it_was_created(api: Api) -> None:
    await api.stores.ready_dataset(5)
    deadline = in_future(hours=1)
    answer = await api.jobs.CreateJob(
        create("rows", priority=7, labels={"team": "a"}, error_threshold=0.5, deadline=deadline)
    )
    job = answer.job
    assert job == (await api.jobs.GetJob(pb.GetJobRequest(job_id=job.job_id))).job
    assert job.state == job_pb2.JOB_STATE_QUEUED
    assert (job.dataset_id, job.base_model_id, job.priority, job.error_threshold) == ("ds_1", "mistral-7b", 7, 0.5)
    assert (job.counts.total, job.counts.pending, job.queue_position) == (5, 5, 1)
    assert job.default_max_tokens == 1024
    assert job.cost.currency == "USD"
    assert job.deadline == deadline
    assert dict(job.labels) == {"team": "a"}


async def test_the_token_is_stored_but_never_returned(api: Api) -> None:
    await api.stores.ready_dataset(1)
    job = (await api.jobs.CreateJob(create())).job
    assert job.server_config.base_model == "Mistralai/Mistral-7B-v0.1"
    assert "hf_secret" not in str(job)
    assert (await api.stores.jobs.secrets(job.job_id)).hf_token == "hf_secret"


async def test_a_repeated_request_id_answers_with_the_first_job(api: Api) -> None:
    await api.stores.ready_dataset(1)
    first = (await api.jobs.CreateJob(create(request_id="r1"))).job
    again = (await api.jobs.CreateJob(create("unknown by now", request_id="r1"))).job
    assert again.job_id == first.job_id


async def test_validate_only_answers_without_storing(api: Api) -> None:
    await api.stores.ready_dataset(3)
    job = (await api.jobs.CreateJob(create(validate_only=True))).job
    assert (job.job_id, job.state, job.counts.total) == ("", job_pb2.JOB_STATE_QUEUED, 3)
    assert not (await api.jobs.ListJobs(pb.ListJobsRequest())).jobs


async def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    wrong = pb.CreateJobRequest(
        server_config=job_pb2.ServerConfig(base_model="llama-2-70b", quantization="int3", hf_token="a b"),
        priority=101,
        deadline=in_future(hours=-1),
        labels={"": "x", "a" * 64: "y"},
        error_threshold=float("nan"),
        default_max_tokens=-1,
        request_id="line\nbreak",
    )
    wrong.request_id = ""
    told = await refusal(api.jobs.CreateJob(wrong))
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert told.reason == "INVALID_INPUT"
    assert told.fields.keys() >= {
        "dataset",
        "server_config.base_model",
        "server_config.quantization",
        "server_config.hf_token",
        "priority",
        "deadline",
        "error_threshold",
        "default_max_tokens",
    }
    assert "16 billion" in told.fields["server_config.base_model"]


async def test_arguments_that_a_launcher_would_not_take_make_no_job(api: Api) -> None:
    await api.stores.ready_dataset(1)
    request = create()
    for custom, index, message in (
        (["--compile", "--port=80"], 1, "may not be set"),
        (["--model-id", "gpt2"], 0, "contradicts the base model"),
    ):
        request.server_config.custom_args[:] = custom
        told = await refusal(api.jobs.CreateJob(request))
        assert message in told.fields[f"server_config.custom_args[{index}]"]
    request.server_config.custom_args[:] = ["--model-id", "mistralai/Mistral-7B-v0.1", "--max-total-tokens=8192"]
    await api.jobs.CreateJob(request)


async def test_an_unknown_base_model_is_told_how_to_declare_it(api: Api) -> None:
    await api.stores.ready_dataset(1)
    request = create()
    request.server_config.base_model = "acme/secret-7b"
    told = await refusal(api.jobs.CreateJob(request))
    message = told.fields["server_config.base_model"]
    for needed in ("size can't be told", "16 billion", "name", "parameters", "bytes_per_weight", "context_length"):
        assert needed in message


async def test_a_dataset_that_cannot_run_makes_no_job(api: Api) -> None:
    assert (await refusal(api.jobs.CreateJob(create("nothing")))).code is grpc.StatusCode.NOT_FOUND
    await api.stores.datasets.create_dataset(NewDataset(dataset_id="ds_up", name="up"))
    told = await refusal(api.jobs.CreateJob(create("ds_up")))
    assert "still being uploaded" in told.fields["dataset"]


async def test_rows_of_another_base_model_make_no_job(api: Api) -> None:
    await api.stores.ready_dataset(1, models=["mistralai/Mistral-7B-v0.1", "google/gemma-2b"])
    told = await refusal(api.jobs.CreateJob(create()))
    assert "google/gemma-2b" in told.fields["server_config.base_model"]


async def test_a_job_of_a_dataset_in_validation_waits(api: Api) -> None:
    await api.stores.datasets.create_dataset(NewDataset(dataset_id="ds_v", name="v", source_path="/x"))
    job = (await api.jobs.CreateJob(create("ds_v"))).job
    assert job.state == job_pb2.JOB_STATE_VALIDATING
    assert not job.HasField("progress")


@pytest.mark.parametrize("job_id", ["job_nothing", "x" * 300, "nul\0"])
async def test_an_unknown_job_is_not_found(api: Api, job_id: str) -> None:
    told = await refusal(api.jobs.GetJob(pb.GetJobRequest(job_id=job_id)))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert "ResourceInfo" in told.details


async def test_pages_hold_every_job_once_newest_first(api: Api) -> None:
    await api.stores.ready_dataset(1)
    made = [(await api.jobs.CreateJob(create())).job.job_id for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = await api.jobs.ListJobs(pb.ListJobsRequest(page_size=2, page_token=token))
        seen += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]


async def test_a_filter_selects_by_state_label_and_model(api: Api) -> None:
    await api.stores.ready_dataset(1)
    one = (await api.jobs.CreateJob(create(labels={"a": "1", "b": "2"}))).job
    await api.jobs.CreateJob(create(labels={"a": "2"}))
    await api.jobs.PauseJob(pb.PauseJobRequest(job_id=one.job_id))
    where = pb.JobFilter(
        states=[job_pb2.JOB_STATE_PAUSED],
        labels={"a": "1"},
        dataset_id="ds_1",
        base_model="predibase/Mistral-7B-v0.1-dequantized",
    )
    page = await api.jobs.ListJobs(pb.ListJobsRequest(filter=where))
    assert [job.job_id for job in page.jobs] == [one.job_id]


async def test_a_list_refuses_wrong_sizes_tokens_and_states(api: Api) -> None:
    request = pb.ListJobsRequest(page_size=1001, filter=pb.JobFilter(states=[job_pb2.JOB_STATE_UNSPECIFIED]))
    assert (await refusal(api.jobs.ListJobs(request))).fields.keys() == {"page_size", "filter.states"}
    told = await refusal(api.jobs.ListJobs(pb.ListJobsRequest(page_token="nonsense")))
    assert told.fields.keys() == {"page_token"}


async def test_an_update_changes_what_the_mask_names(api: Api) -> None:
    await api.stores.ready_dataset(1)
    job = (await api.jobs.CreateJob(create(labels={"a": "1"}, deadline=in_future(hours=1)))).job
    update = job_pb2.Job(job_id=job.job_id, priority=-5, labels={"ignored": "x"})
    request = pb.UpdateJobRequest(job=update, update_mask=FieldMask(paths=["priority", "deadline"]))
    changed = (await api.jobs.UpdateJob(request)).job
    assert (changed.priority, dict(changed.labels), changed.HasField("deadline")) == (-5, {"a": "1"}, False)
    request.update_mask.paths[:] = ["labels", "state"]
    told = await refusal(api.jobs.UpdateJob(request))
    assert "'state'" in told.fields["update_mask"]
    assert "priority" in (await refusal(api.jobs.UpdateJob(pb.UpdateJobRequest(job=update)))).fields["update_mask"]


async def test_pause_resume_and_cancel_may_be_repeated(api: Api) -> None:
    await api.stores.ready_dataset(1)
    job_id = (await api.jobs.CreateJob(create())).job.job_id
    for _ in range(2):
        paused = await api.jobs.PauseJob(pb.PauseJobRequest(job_id=job_id))
        assert paused.job.state == job_pb2.JOB_STATE_PAUSED
    for _ in range(2):
        resumed = await api.jobs.ResumeJob(pb.ResumeJobRequest(job_id=job_id))
        assert resumed.job.state == job_pb2.JOB_STATE_QUEUED
    for _ in range(2):
        cancelled = await api.jobs.CancelJob(pb.CancelJobRequest(job_id=job_id, reason="enough"))
        assert (cancelled.job.state, cancelled.job.reason) == (job_pb2.JOB_STATE_CANCELLING, "enough")
    told = await refusal(api.jobs.PauseJob(pb.PauseJobRequest(job_id=job_id)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_CONFLICT")
    assert told.metadata["current"] == "CANCELLING"
    assert "PreconditionFailure" in told.details


async def test_an_ended_job_can_be_retried_and_deleted_but_not_changed(api: Api) -> None:
    await api.stores.ready_dataset(4)
    job_id = (await api.jobs.CreateJob(create())).job.job_id
    for refused in (
        api.jobs.RetryJob(pb.RetryJobRequest(job_id=job_id)),
        api.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job_id)),
    ):
        assert (await refusal(refused)).code is grpc.StatusCode.FAILED_PRECONDITION
    await run_rows(api.stores, job_id, 4, failed={1, 2})
    await settle(api, job_id, JobEvent.ROWS_DONE)
    for too_late in (
        api.jobs.CancelJob(pb.CancelJobRequest(job_id=job_id)),
        api.jobs.ResumeJob(pb.ResumeJobRequest(job_id=job_id)),
        api.jobs.UpdateJob(
            pb.UpdateJobRequest(job=job_pb2.Job(job_id=job_id), update_mask=FieldMask(paths=["priority"]))
        ),
    ):
        assert (await refusal(too_late)).code is grpc.StatusCode.FAILED_PRECONDITION
    retried = (await api.jobs.RetryJob(pb.RetryJobRequest(job_id=job_id, request_id="again"))).job
    assert (retried.retry_of, retried.counts.total) == (job_id, 2)
    repeated = (await api.jobs.RetryJob(pb.RetryJobRequest(job_id=job_id, request_id="again"))).job
    assert repeated.job_id == retried.job_id
    await api.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job_id))
    assert (await refusal(api.jobs.GetJob(pb.GetJobRequest(job_id=job_id)))).code is grpc.StatusCode.NOT_FOUND
    assert [key async for key in api.objects.scan("")] == []


async def test_broken_bytes_are_the_callers_fault(api: Api) -> None:
    call: Any = api.channel.unary_unary("/lorax_batch.v1.BatchInference/GetJob")
    told = await refusal(call(b"\x0a\x02\xff\xfe"))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


@pytest.mark.damages_database("its tables have other names")
async def test_the_unexpected_is_internal_and_says_nothing_of_the_inside(api: Api) -> None:
    async with api.stores.database.connection() as connection:
        await connection.execute("ALTER TABLE job_secrets RENAME TO nowhere; ALTER TABLE jobs RENAME TO lost")
    told = await refusal(api.jobs.GetJob(pb.GetJobRequest(job_id="job_1")))
    assert (told.code, told.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "jobs" not in told.message


async def test_a_database_that_is_away_is_unavailable_and_worth_a_retry(api: Api) -> None:
    await api.stores.database.close()
    told = await refusal(api.jobs.GetJob(pb.GetJobRequest(job_id="job_1")))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE")
    assert "RetryInfo" in told.details


async def test_a_job_whose_rows_are_done_before_it_is_said_to_run_has_started(api: Api) -> None:
    await api.stores.ready_dataset(6)
    await api.stores.queued_job("job_1")
    await api.stores.jobs.move_job("job_1", JobEvent.ASSIGN)
    await run_rows(api.stores, "job_1", 6)
    await settle(api, "job_1", JobEvent.ROWS_DONE)
    job = (await api.jobs.GetJob(pb.GetJobRequest(job_id="job_1"))).job
    assert job.HasField("start_time")
    assert job.start_time.ToDatetime() <= job.end_time.ToDatetime()
