"""What a tenant may use, and no more: also when many ask at once."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import datasets_pb2, job_pb2
from lorax_batch_scheduler.dataset import Dataset
from lorax_batch_server.key_ring import KeyRing
from lorax_batch_server.status import DETAILS_KEY

from tests.integration.api.conftest import open_api, refusal
from tests.integration.tenants.conftest import Shared

MODEL = job_pb2.ServerConfig(base_model="mistral-7b-instruct-v0-2")
ROWS_TOKENS = 3 * (10 + 100)
"""Of the dataset with three rows: prompt, and what they allow."""


async def limit(shared: Shared, **quotas: float) -> None:
    await shared.stores.access.update_tenant("acme", quotas=quotas, share_weight=None)


def create(shared: Shared, request_id: str = "") -> Any:
    order = pb.CreateJobRequest(dataset="ds_acme", server_config=MODEL, request_id=request_id)
    return shared.api.jobs.CreateJob(order, metadata=shared.keys["acme submit"])


def upload(shared: Shared, data: bytes = b"", **start: Any) -> Any:
    messages = [datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart(**start))]
    if data:
        messages.append(datasets_pb2.UploadDatasetRequest(data=data))
    return shared.api.datasets.UploadDataset(iter(messages), metadata=shared.keys["acme submit"])


async def details(call: Any) -> dict[str, Any]:
    """Return the details of a call's error by their names."""
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await call
    assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    raw = dict(told.value.trailing_metadata())[DETAILS_KEY]
    assert isinstance(raw, bytes)
    found: dict[str, Message] = {}
    for packed in status_pb2.Status.FromString(raw).details:
        name = packed.type_url.rpartition(".")[2]
        found[name] = getattr(error_details_pb2, name)()
        packed.Unpack(found[name])
    return found


async def test_jobs_that_have_not_ended_are_counted(shared: Shared) -> None:
    await limit(shared, queued_jobs=2)
    second = (await create(shared, "second")).job
    told = await details(create(shared))
    assert told["ErrorInfo"].reason == "QUOTA_EXCEEDED"
    assert dict(told["ErrorInfo"].metadata) == {"tenant": "acme", "quota": "queued_jobs", "limit": "2", "used": "2"}
    assert told["RetryInfo"].retry_delay.ToTimedelta() == timedelta(seconds=30)
    (violation,) = told["QuotaFailure"].violations
    assert violation.subject == "tenant:acme"
    assert violation.description == (
        "tenant 'acme' may have 2 jobs that have not ended (quota queued_jobs), has 2, and asks for 1 more: wait until "
        "jobs have ended, or cancel some, or ask an operator for more"
    )
    # What was there is answered, what others ask for is none of its business, and a retry counts too.
    assert (await create(shared, "second")).job == second
    order = pb.CreateJobRequest(dataset="ds_globex", server_config=MODEL)
    await shared.api.jobs.CreateJob(order, metadata=shared.keys["globex submit"])
    retry = pb.RetryJobRequest(job_id="job_acme_done")
    assert await details(shared.api.jobs.RetryJob(retry, metadata=shared.keys["acme submit"]))
    assert {job.job_id for job in await shared.stores.jobs.unfinished_jobs() if job.tenant == "acme"} == {
        "job_acme",
        second.job_id,
    }


async def test_many_at_once_at_two_replicas_get_what_is_left_and_no_more(
    shared: Shared, ring: KeyRing, tmp_path: Path
) -> None:
    await limit(shared, queued_jobs=4)
    folder = tmp_path / "replica"
    folder.mkdir()
    async with open_api(shared.stores, folder, ring, first_id=1_000) as replica:
        other = replace(shared, api=replica)
        codes = [await call.code() for call in [create(each) for each in (shared, other) * 10]]
    assert codes.count(grpc.StatusCode.OK) == 3
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 17


async def test_tokens_of_rows_without_a_result_are_counted(shared: Shared) -> None:
    await limit(shared, queued_tokens=2 * ROWS_TOKENS)
    used = (await shared.stores.access.get_tenant("acme")).usage
    assert (used.queued_jobs, used.queued_tokens) == (1, ROWS_TOKENS)
    await create(shared)
    told = await details(create(shared))
    figures = {"quota": "queued_tokens", "limit": "660", "used": "660"}
    assert figures.items() <= dict(told["ErrorInfo"].metadata).items()
    assert "RetryInfo" in told


async def test_a_retry_asks_for_the_tokens_of_its_rows(shared: Shared) -> None:
    retry = pb.RetryJobRequest(job_id="job_acme_done")
    await limit(shared, queued_tokens=ROWS_TOKENS + ROWS_TOKENS // 3 - 1)
    assert await details(shared.api.jobs.RetryJob(retry, metadata=shared.keys["acme submit"]))
    await limit(shared, queued_tokens=ROWS_TOKENS + ROWS_TOKENS // 3)
    await shared.api.jobs.RetryJob(retry, metadata=shared.keys["acme submit"])


async def test_bytes_are_counted_before_they_come_and_as_they_come(shared: Shared) -> None:
    used = (await shared.stores.access.get_tenant("acme")).usage.stored_bytes
    assert used == 2 * 1_500 + len(b"output\n" + b"errors\n")
    await limit(shared, stored_bytes=used + 100)
    assert await details(upload(shared, total_bytes=101))
    assert await details(upload(shared, b"x" * 101))
    # What the stream had begun is there, empty.
    await upload(shared, b"x" * 100, total_bytes=100)
    assert (await shared.stores.access.get_tenant("acme")).usage.stored_bytes == used + 100
    told = await details(upload(shared))
    assert told["ErrorInfo"].metadata["quota"] == "stored_bytes"
    assert "delete datasets or ended jobs" in told["QuotaFailure"].violations[0].description
    assert "RetryInfo" in told
    # Results would come on top; nothing can be imported either.
    assert await details(create(shared))
    path = shared.api.import_root / "rows.jsonl"
    path.write_bytes(b"{}\n")
    request = datasets_pb2.ImportDatasetRequest(path=str(path))
    assert await details(shared.api.datasets.ImportDataset(request, metadata=shared.keys["acme submit"]))
    submit = shared.keys["acme submit"]
    await shared.api.datasets.DeleteDataset(
        datasets_pb2.DeleteDatasetRequest(dataset_id="ds_acme_free"), metadata=submit
    )
    await create(shared)


async def test_whoever_ingests_a_dataset_is_told_how_many_rows_it_may_have(shared: Shared) -> None:
    await limit(shared, dataset_rows=7)
    submit = shared.keys["acme submit"]
    start = datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart())
    finish = datasets_pb2.UploadDatasetRequest(finish=datasets_pb2.UploadFinish())
    await shared.api.datasets.UploadDataset(iter([start, finish]), metadata=submit)
    await shared.stores.leases.register_scheduler("s9", timedelta(minutes=1), exclusive=False)
    claimed = await shared.stores.datasets.claim_dataset("s9", [])
    assert isinstance(claimed, Dataset)
    assert (claimed.tenant, claimed.max_rows) == ("acme", 7)


async def test_requests_a_second_are_counted_by_tenant(keyed: Shared) -> None:
    await limit(keyed, requests_per_second=0.001)
    keys = keyed.keys
    async with asyncio.timeout(5):
        while await keyed.api.jobs.ListJobs(pb.ListJobsRequest(), metadata=keys["acme read"]).code() is (
            grpc.StatusCode.OK
        ):
            pass  # until the quota is heard of, and one more
    told = await details(keyed.api.jobs.GetJob(pb.GetJobRequest(job_id="any"), metadata=keys["acme submit"]))
    assert told["ErrorInfo"].reason == "RATE_LIMITED"
    assert told["ErrorInfo"].metadata["quota"] == "requests_per_second"
    assert timedelta(seconds=900) < told["RetryInfo"].retry_delay.ToTimedelta() <= timedelta(seconds=1_000)
    for other in ("globex read", "operator"):
        await keyed.api.jobs.ListJobs(pb.ListJobsRequest(), metadata=keys[other])
    # Who may not call at all uses nothing up.
    assert (await refusal(keyed.api.jobs.ListJobs(pb.ListJobsRequest()))).reason == "API_KEY_MISSING"


async def test_a_tenant_sees_what_it_uses(shared: Shared) -> None:
    from lorax_batch.v1 import tenants_pb2

    await limit(shared, queued_jobs=5, stored_bytes=10_000)
    answer = await shared.api.tenants.GetTenant(tenants_pb2.GetTenantRequest(), metadata=shared.keys["acme read"])
    assert answer.tenant.tenant == "acme"
    assert (answer.tenant.quotas.queued_jobs, answer.tenant.quotas.HasField("queued_tokens")) == (5, False)
    assert (answer.tenant.usage.queued_jobs, answer.tenant.usage.queued_tokens) == (1, ROWS_TOKENS)
