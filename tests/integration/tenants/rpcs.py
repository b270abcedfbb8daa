"""Every call of the contract with a request for it: what it names belongs to a tenant."""

from __future__ import annotations  # grpc's own types are generic for type checkers only

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from lorax_batch import v1
from lorax_batch.v1 import batch_inference_pb2 as jobs
from lorax_batch.v1 import datasets_pb2 as datasets
from lorax_batch.v1 import exports_pb2 as exports
from lorax_batch.v1 import fleet_pb2 as fleet
from lorax_batch.v1 import job_pb2
from lorax_batch.v1 import tenants_pb2 as tenants
from lorax_batch.v1 import webhooks_pb2 as webhooks
from lorax_batch_scheduler.tenant import Role

from tests.integration.tenants.conftest import Metadata, Shared

_OK: Final = grpc.StatusCode.OK
_MODEL: Final = job_pb2.ServerConfig(base_model="mistral-7b-instruct-v0-2")
Make = Callable[[Shared, str], Message | list[Message]]


def every_method() -> dict[str, MethodDescriptor]:
    """Return all methods of the contract by service and name: those of every module in its package."""
    found: dict[str, MethodDescriptor] = {}
    for module in pkgutil.iter_modules(v1.__path__):
        if module.name.endswith("_pb2"):
            descriptor = importlib.import_module(f"lorax_batch.v1.{module.name}").DESCRIPTOR
            for service in descriptor.services_by_name.values():
                found |= {f"{service.name}/{method.name}": method for method in service.methods}
    return found


@dataclass(frozen=True, slots=True)
class Rpc:
    """How a call is made in the tests, and what is expected of it."""

    role: Role
    """The least that may make it."""
    make: Make
    """Returns the request, or the messages of a stream, given what the things that it names are named after."""
    names_things: bool = True
    """Whether the request names what belongs to a tenant."""
    code: grpc.StatusCode = _OK
    """What whoever may is answered."""


def _job(message: Callable[..., Message], suffix: str = "", **fields: Any) -> Make:
    return lambda _, owner: message(job_id=f"job_{owner}{suffix}", **fields)


def _webhook(message: Callable[..., Message], **fields: Any) -> Make:
    return lambda _, owner: message(webhook_id=f"wh_{owner}", **fields)


def _upload(_: Shared, owner: str) -> list[Message]:
    start = datasets.UploadStart(dataset_id=f"ds_{owner}_half")
    return [datasets.UploadDatasetRequest(start=start), datasets.UploadDatasetRequest(data=b"{}\n")]


def _import(shared: Shared, _: str) -> Message:
    path = shared.api.import_root / "rows.jsonl"
    path.write_bytes(b"{}\n")
    return datasets.ImportDatasetRequest(path=str(path))


_UPDATED: Final = FieldMask(paths=["priority"])
_WEIGHT: Final = FieldMask(paths=["share_weight"])
_NEW_KEY: Final = tenants.Key(tenant="acme", role=tenants.ROLE_READ)

RPCS: Final[dict[str, Rpc]] = {
    "BatchInference/CreateJob": Rpc(
        Role.SUBMIT, lambda _, owner: jobs.CreateJobRequest(dataset=f"ds_{owner}", server_config=_MODEL)
    ),
    "BatchInference/GetJob": Rpc(Role.READ, _job(jobs.GetJobRequest)),
    "BatchInference/ListJobs": Rpc(Role.READ, lambda *_: jobs.ListJobsRequest(), names_things=False),
    "BatchInference/UpdateJob": Rpc(
        Role.SUBMIT,
        lambda _, owner: jobs.UpdateJobRequest(
            job=job_pb2.Job(job_id=f"job_{owner}", priority=3), update_mask=_UPDATED
        ),
    ),
    "BatchInference/CancelJob": Rpc(Role.SUBMIT, _job(jobs.CancelJobRequest)),
    "BatchInference/PauseJob": Rpc(Role.SUBMIT, _job(jobs.PauseJobRequest)),
    "BatchInference/ResumeJob": Rpc(Role.SUBMIT, _job(jobs.ResumeJobRequest)),
    "BatchInference/RetryJob": Rpc(Role.SUBMIT, _job(jobs.RetryJobRequest, "_done")),
    "BatchInference/DeleteJob": Rpc(Role.SUBMIT, _job(jobs.DeleteJobRequest, "_done")),
    "BatchInference/WatchJobs": Rpc(Role.READ, lambda _, owner: jobs.WatchJobsRequest(job_ids=[f"job_{owner}"])),
    "BatchInference/StreamResults": Rpc(Role.READ, _job(jobs.StreamResultsRequest, "_done")),
    "BatchInference/DownloadResults": Rpc(Role.READ, _job(jobs.DownloadResultsRequest, "_done")),
    "Datasets/UploadDataset": Rpc(Role.SUBMIT, _upload),
    "Datasets/GetUploadStatus": Rpc(
        Role.READ, lambda _, owner: datasets.GetUploadStatusRequest(dataset_id=f"ds_{owner}_half")
    ),
    "Datasets/ImportDataset": Rpc(Role.SUBMIT, _import, names_things=False),
    "Datasets/GetDataset": Rpc(Role.READ, lambda _, owner: datasets.GetDatasetRequest(dataset=f"ds_{owner}")),
    "Datasets/ListDatasets": Rpc(Role.READ, lambda *_: datasets.ListDatasetsRequest(), names_things=False),
    "Datasets/DeleteDataset": Rpc(
        Role.SUBMIT, lambda _, owner: datasets.DeleteDatasetRequest(dataset_id=f"ds_{owner}_free")
    ),
    "Exports/CreateDownloadLink": Rpc(
        Role.READ, _job(exports.CreateDownloadLinkRequest, "_done"), True, grpc.StatusCode.FAILED_PRECONDITION
    ),
    "Exports/CreateExport": Rpc(
        Role.SUBMIT,
        _job(exports.CreateExportRequest, "_done", destination="s3://elsewhere/x"),
        True,
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    "Exports/GetExport": Rpc(Role.READ, lambda _, owner: exports.GetExportRequest(export_id=f"exp_{owner}")),
    "Exports/ListExports": Rpc(Role.READ, _job(exports.ListExportsRequest, "_done")),
    "Fleet/ListSlots": Rpc(Role.OPERATE, lambda *_: fleet.ListSlotsRequest(), names_things=False),
    "Fleet/ListServers": Rpc(Role.OPERATE, lambda *_: fleet.ListServersRequest(), names_things=False),
    "Fleet/DrainSlot": Rpc(
        Role.OPERATE, lambda *_: fleet.DrainSlotRequest(slot_id="none"), False, grpc.StatusCode.NOT_FOUND
    ),
    "Fleet/UndrainSlot": Rpc(
        Role.OPERATE, lambda *_: fleet.UndrainSlotRequest(slot_id="none"), False, grpc.StatusCode.NOT_FOUND
    ),
    "Fleet/WatchFleet": Rpc(Role.OPERATE, lambda *_: fleet.WatchFleetRequest(), names_things=False),
    "Tenants/CreateTenant": Rpc(
        Role.OPERATE,
        lambda *_: tenants.CreateTenantRequest(tenant=tenants.Tenant(tenant="initech")),
        names_things=False,
    ),
    "Tenants/GetTenant": Rpc(Role.READ, lambda _, owner: tenants.GetTenantRequest(tenant=owner)),
    "Tenants/ListTenants": Rpc(Role.OPERATE, lambda *_: tenants.ListTenantsRequest(), names_things=False),
    "Tenants/UpdateTenant": Rpc(
        Role.OPERATE,
        lambda _, owner: tenants.UpdateTenantRequest(
            tenant=tenants.Tenant(tenant=owner, share_weight=2), update_mask=_WEIGHT
        ),
    ),
    "Tenants/DeleteTenant": Rpc(Role.OPERATE, lambda _, owner: tenants.DeleteTenantRequest(tenant=owner)),
    "Tenants/CreateKey": Rpc(Role.OPERATE, lambda *_: tenants.CreateKeyRequest(key=_NEW_KEY), names_things=False),
    "Tenants/ListKeys": Rpc(Role.OPERATE, lambda _, owner: tenants.ListKeysRequest(tenant=owner)),
    "Tenants/RevokeKey": Rpc(
        Role.OPERATE, lambda shared, _: tenants.RevokeKeyRequest(key_id=shared.key_ids["spare"]), names_things=False
    ),
    "Webhooks/CreateWebhook": Rpc(
        Role.SUBMIT,
        lambda *_: webhooks.CreateWebhookRequest(webhook=webhooks.Webhook(url="http://127.0.0.1:9/")),
        names_things=False,
    ),
    "Webhooks/GetWebhook": Rpc(Role.READ, _webhook(webhooks.GetWebhookRequest)),
    "Webhooks/ListWebhooks": Rpc(Role.READ, lambda *_: webhooks.ListWebhooksRequest(), names_things=False),
    "Webhooks/UpdateWebhook": Rpc(
        Role.SUBMIT,
        lambda _, owner: webhooks.UpdateWebhookRequest(
            webhook=webhooks.Webhook(webhook_id=f"wh_{owner}", description="x"),
            update_mask=FieldMask(paths=["description"]),
        ),
    ),
    "Webhooks/DeleteWebhook": Rpc(Role.SUBMIT, _webhook(webhooks.DeleteWebhookRequest)),
    "Webhooks/RotateWebhookSecret": Rpc(Role.SUBMIT, _webhook(webhooks.RotateWebhookSecretRequest)),
    "Webhooks/TestWebhook": Rpc(Role.SUBMIT, _webhook(webhooks.TestWebhookRequest)),
    "Webhooks/ListDeliveries": Rpc(Role.READ, _webhook(webhooks.ListDeliveriesRequest)),
    "Webhooks/RedeliverMessage": Rpc(
        Role.SUBMIT,
        _webhook(webhooks.RedeliverMessageRequest, message_id="msg_none_1"),
        True,
        grpc.StatusCode.NOT_FOUND,
    ),
}
"""One entry a method: a new method needs one here."""


async def call(shared: Shared, name: str, messages: Message | Sequence[Message], key: Metadata) -> Any:
    """Make a call and return its answer, or the first message of it. Raises `AioRpcError`."""
    method = every_method()[name]
    answer = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    channel: Any = shared.api.channel
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
    }
    open_call = kinds[method.client_streaming, method.server_streaming](
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    if isinstance(messages, Message):
        started = open_call(messages, metadata=key, timeout=20)
    else:
        started = open_call(_each(messages), metadata=key, timeout=20)
    if not method.server_streaming:
        return await started
    try:
        async for message in started:
            return message
        return None
    finally:
        started.cancel()


async def _each(messages: Sequence[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message
