"""What a tenant sees is its own: in lists, watches, names and request ids, whatever ids it knows or guesses."""

import asyncio
from typing import Any

import grpc
import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import datasets_pb2, exports_pb2, job_pb2, webhooks_pb2, webhooks_pb2_grpc
from lorax_batch_scheduler.dataset import NewDataset

from tests.integration.api.conftest import refusal
from tests.integration.tenants.conftest import TENANTS, Metadata, Shared

MODEL = job_pb2.ServerConfig(base_model="mistral-7b-instruct-v0-2")


def watch(shared: Shared, key: Metadata, **fields: Any) -> Any:
    return shared.api.jobs.WatchJobs(pb.WatchJobsRequest(**fields), metadata=key, timeout=20)


async def until_heartbeat(stream: Any) -> list[pb.WatchJobsResponse]:
    found: list[pb.WatchJobsResponse] = []
    async for message in stream:
        if message.WhichOneof("event") == "heartbeat":
            return found
        found.append(message)
    raise AssertionError("ended")


async def next_of(stream: Any, kind: str) -> Any:
    async for message in stream:
        if message.WhichOneof("event") == kind:
            return message
        assert message.WhichOneof("event") == "heartbeat", message
    raise AssertionError("ended")


async def test_lists_have_what_is_the_callers(shared: Shared) -> None:
    for key, seen in (("acme read", {"acme"}), ("globex submit", {"globex"}), ("operator", {"acme", "globex"})):
        metadata = shared.keys[key]
        jobs = await shared.api.jobs.ListJobs(pb.ListJobsRequest(), metadata=metadata)
        datasets = await shared.api.datasets.ListDatasets(datasets_pb2.ListDatasetsRequest(), metadata=metadata)
        assert {job.tenant for job in jobs.jobs} == seen
        assert {dataset.tenant for dataset in datasets.datasets} == seen
        assert (len(jobs.jobs), len(datasets.datasets)) == (2 * len(seen), 3 * len(seen))


async def test_pages_of_a_list_pass_over_what_is_others(shared: Shared) -> None:
    key, found, token = shared.keys["acme read"], [], ""
    while True:
        request = pb.ListJobsRequest(page_size=1, page_token=token)
        page = await shared.api.jobs.ListJobs(request, metadata=key)
        found += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert found == ["job_acme", "job_acme_done"]


async def test_only_operators_may_ask_for_a_tenant(shared: Shared) -> None:
    request = pb.ListJobsRequest(filter=pb.JobFilter(tenant="globex"))
    jobs = await shared.api.jobs.ListJobs(request, metadata=shared.keys["operator"])
    assert {job.job_id for job in jobs.jobs} == {"job_globex", "job_globex_done"}
    for name in ("globex", "nobody"):
        request = pb.ListJobsRequest(filter=pb.JobFilter(tenant=name))
        told = await refusal(shared.api.jobs.ListJobs(request, metadata=shared.keys["acme read"]))
        assert told.fields == {"filter.tenant": f"'{name}' is not the tenant of your key: leave it unset"}


async def test_a_watch_tells_of_the_callers_jobs_alone(shared: Shared) -> None:
    streams = {tenant: watch(shared, shared.keys[f"{tenant} read"]) for tenant in TENANTS}
    for tenant, stream in streams.items():
        snapshots = await until_heartbeat(stream)
        assert {message.snapshot.job_id for message in snapshots} == {f"job_{tenant}", f"job_{tenant}_done"}
    submit = shared.keys["globex submit"]
    await shared.api.jobs.DeleteJob(pb.DeleteJobRequest(job_id="job_globex_done"), metadata=submit)
    await shared.api.jobs.PauseJob(pb.PauseJobRequest(job_id="job_globex"), metadata=submit)
    submit = shared.keys["acme submit"]
    await shared.api.jobs.PauseJob(pb.PauseJobRequest(job_id="job_acme"), metadata=submit)
    async with asyncio.timeout(10):
        # The first that acme hears of is its own, though two things of globex happened before.
        assert (await next_of(streams["acme"], "state_change")).state_change.job.job_id == "job_acme"
        assert (await next_of(streams["globex"], "deleted")).deleted == "job_globex_done"
        assert (await next_of(streams["globex"], "state_change")).state_change.job.job_id == "job_globex"
    for stream in streams.values():
        stream.cancel()


async def test_a_resumed_watch_tells_nothing_of_others(shared: Shared) -> None:
    await shared.api.jobs.DeleteJob(
        pb.DeleteJobRequest(job_id="job_globex_done"), metadata=shared.keys["globex submit"]
    )
    stream = watch(shared, shared.keys["acme read"], after_sequence=0)
    told = await until_heartbeat(stream)
    stream.cancel()
    assert {message.WhichOneof("event") for message in told} == {"state_change"}
    assert {message.state_change.job.tenant for message in told} == {"acme"}


async def test_resuming_with_anothers_job_is_as_with_one_that_is_gone(shared: Shared) -> None:
    for job_id in ("job_globex", "job_globex_done", "job_nobody"):
        stream = watch(shared, shared.keys["acme read"], job_ids=[job_id], after_sequence=0)
        assert [message async for message in stream] == []
        assert await stream.code() is grpc.StatusCode.OK


async def test_names_are_looked_up_among_the_callers_datasets(shared: Shared) -> None:
    request = datasets_pb2.GetDatasetRequest(dataset="rows")  # all READY ones have this name
    for tenant in TENANTS:
        answer = await shared.api.datasets.GetDataset(request, metadata=shared.keys[f"{tenant} read"])
        assert answer.dataset.dataset_id == f"ds_{tenant}_free"
    told = await refusal(shared.api.datasets.GetDataset(request, metadata=shared.keys["operator"]))
    assert told.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("call", ["delete", "upload", "job"])
async def test_a_dataset_named_like_anothers_id_opens_nothing(shared: Shared, call: str) -> None:
    trap = {"delete": "ds_globex_free", "upload": "ds_globex_half", "job": "ds_globex"}[call]
    await shared.stores.datasets.create_dataset(NewDataset(dataset_id="ds_trap", tenant="acme", name=trap))
    submit = shared.keys["acme submit"]
    if call == "delete":
        request = datasets_pb2.DeleteDatasetRequest(dataset_id=trap)
        told = await refusal(shared.api.datasets.DeleteDataset(request, metadata=submit))
    elif call == "upload":
        start = datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart(dataset_id=trap))
        told = await refusal(shared.api.datasets.UploadDataset(iter([start]), metadata=submit))
    else:
        order = pb.CreateJobRequest(dataset=trap, server_config=MODEL)
        told = await refusal(shared.api.jobs.CreateJob(order, metadata=submit))
        assert "'ds_trap' is still being uploaded" in told.message
        return
    assert told.code is grpc.StatusCode.NOT_FOUND
    assert (await shared.stores.datasets.get_dataset(trap)).tenant == "globex"


async def test_a_request_id_is_its_tenants(shared: Shared) -> None:
    made: dict[str, str] = {}
    file = shared.api.import_root / "rows.jsonl"
    file.write_bytes(b"{}\n")
    for tenant in (*TENANTS, *TENANTS):
        submit = shared.keys[f"{tenant} submit"]
        order = pb.CreateJobRequest(dataset=f"ds_{tenant}", server_config=MODEL, request_id="nightly")
        job = (await shared.api.jobs.CreateJob(order, metadata=submit)).job
        assert job.tenant == tenant
        assert made.setdefault(tenant, job.job_id) == job.job_id
        retried = pb.RetryJobRequest(job_id=f"job_{tenant}_done", request_id="again")
        job = (await shared.api.jobs.RetryJob(retried, metadata=submit)).job
        assert made.setdefault(f"{tenant} retry", job.job_id) == job.job_id
        start = datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart(request_id="file"))
        dataset = (await shared.api.datasets.UploadDataset(iter([start]), metadata=submit)).dataset
        assert made.setdefault(f"{tenant} upload", dataset.dataset_id) == dataset.dataset_id
        imported = datasets_pb2.ImportDatasetRequest(path=str(file), request_id="import")
        dataset = (await shared.api.datasets.ImportDataset(imported, metadata=submit)).dataset
        assert made.setdefault(f"{tenant} import", dataset.dataset_id) == dataset.dataset_id
        copy = exports_pb2.CreateExportRequest(
            job_id=f"job_{tenant}_done", destination="s3://theirs/out/1", request_id="copy"
        )
        export = (await shared.api.exports.CreateExport(copy, metadata=submit)).export
        assert export.job_id == f"job_{tenant}_done"
        assert made.setdefault(f"{tenant} export", export.export_id) == export.export_id
    assert len(set(made.values())) == 10
    status = datasets_pb2.GetUploadStatusRequest(request_id="file")
    for tenant in TENANTS:
        answer = await shared.api.datasets.GetUploadStatus(status, metadata=shared.keys[f"{tenant} read"])
        assert answer.dataset_id == made[f"{tenant} upload"]
    # The operator's own tenant has made nothing of that name.
    told = await refusal(shared.api.datasets.GetUploadStatus(status, metadata=shared.keys["operator"]))
    assert told.code is grpc.StatusCode.NOT_FOUND


async def test_a_job_is_of_the_tenant_of_its_dataset(shared: Shared) -> None:
    operator = shared.keys["operator"]
    order = pb.CreateJobRequest(dataset="ds_globex", server_config=MODEL, request_id="for-them")
    job = (await shared.api.jobs.CreateJob(order, metadata=operator)).job
    assert job.tenant == "globex"
    assert (await shared.api.jobs.CreateJob(order, metadata=operator)).job.job_id == job.job_id
    retried = (await shared.api.jobs.RetryJob(pb.RetryJobRequest(job_id="job_acme_done"), metadata=operator)).job
    assert retried.tenant == "acme"


async def test_without_keys_all_is_shown_and_made_for_the_first_tenant(shared: Shared, tmp_path: Any) -> None:
    from tests.integration.api.conftest import open_api

    path = tmp_path / "open"
    path.mkdir()
    async with open_api(shared.stores, path) as unlocked:
        jobs = await unlocked.jobs.ListJobs(pb.ListJobsRequest())
        assert {job.tenant for job in jobs.jobs} == set(TENANTS)
        start = datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart())
        made = await unlocked.datasets.UploadDataset(iter([start]))
        assert made.dataset.tenant == "default"


async def test_servers_are_started_with_what_harms_no_other_tenant(shared: Shared) -> None:
    config = job_pb2.ServerConfig(base_model=MODEL.base_model, custom_args=["--trust-remote-code"])
    request = pb.CreateJobRequest(dataset="ds_acme", server_config=config, validate_only=True)
    told = await refusal(shared.api.jobs.CreateJob(request, metadata=shared.keys["acme submit"]))
    assert "ask an operator" in told.fields["server_config.custom_args[0]"]
    await shared.api.jobs.CreateJob(request, metadata=shared.keys["operator"])


async def test_a_bucket_of_one_tenant_is_closed_to_the_others(shared: Shared) -> None:
    def export(job_id: str, key: str) -> Any:
        request = exports_pb2.CreateExportRequest(job_id=job_id, destination="s3://acmes/x")
        return shared.api.exports.CreateExport(request, metadata=shared.keys[key])

    told = await refusal(export("job_globex_done", "globex submit"))
    assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "BUCKET_NOT_ALLOWED")
    for key in ("acme submit", "operator"):
        assert (await export("job_acme_done", key)).export.destination == "s3://acmes/x/"


async def test_who_may_not_set_webhooks_is_not_shown_the_secrets_in_their_urls(shared: Shared) -> None:
    whole = "http://127.0.0.1:9/T0/secret?key=1"
    await shared.stores.webhooks.update_webhook("wh_acme", "acme", url=whole)
    hooks: Any = webhooks_pb2_grpc.WebhooksStub(shared.api.channel)
    for key, shown in (("acme read", "http://127.0.0.1:9/[redacted]"), ("acme submit", whole), ("operator", whole)):
        metadata = shared.keys[key]
        one = await hooks.GetWebhook(webhooks_pb2.GetWebhookRequest(webhook_id="wh_acme"), metadata=metadata)
        several = await hooks.ListWebhooks(webhooks_pb2.ListWebhooksRequest(), metadata=metadata)
        assert one.webhook.url == shown
        assert shown in [each.url for each in several.webhooks]
