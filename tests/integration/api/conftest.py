"""A service that listens on a free port, on the stores of a test's own database."""

from __future__ import annotations  # the asynchronous stubs exist for type checkers only

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from lorax_batch.v1 import (
    batch_inference_pb2_grpc,
    datasets_pb2_grpc,
    exports_pb2_grpc,
    fleet_pb2_grpc,
    tenants_pb2_grpc,
)
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.ingest.imports import ImportSources
from lorax_batch_scheduler.ingest.uploads import DatasetUpload, UploadLimits
from lorax_batch_scheduler.objects.caller_buckets import S3CallerBuckets
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.result_reader import ResultReader
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.retention.remains import Remains
from lorax_batch_scheduler.webhooks.address_rules import AddressRules
from lorax_batch_scheduler.webhooks.sender import Sender
from lorax_batch_server.access import KeyAccess
from lorax_batch_server.batch_inference import BatchInferenceService, JobParts
from lorax_batch_server.datasets import DatasetParts, DatasetsService
from lorax_batch_server.download import Download
from lorax_batch_server.exports import ExportParts, ExportsService
from lorax_batch_server.fleet import FleetService
from lorax_batch_server.fleet_watch import FleetHub
from lorax_batch_server.input_order import InputOrder
from lorax_batch_server.job_intake import JobIntake, JobTerms
from lorax_batch_server.key_ring import KeyRing
from lorax_batch_server.listen_address import ListenAddress
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.result_stream import ResultStream
from lorax_batch_server.server import ApiServer
from lorax_batch_server.status import DETAILS_KEY
from lorax_batch_server.stopping import Stopping
from lorax_batch_server.tenants import TenantsService
from lorax_batch_server.translate_job import JobTranslator
from lorax_batch_server.watch import WatchHub
from lorax_batch_server.webhooks import WebhooksService
from prometheus_client import CollectorRegistry

from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.conftest import stores as stores

PART_BYTES = 1 << 20
MAX_DATASET_BYTES = 8 * PART_BYTES
RETENTION = RetentionPolicy(jobs=timedelta(days=30), datasets=timedelta(days=40))


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A running service, from inside and outside."""

    stores: Stores
    objects: DirectoryObjectStore
    import_root: Path
    fleet_hub: FleetHub
    registry: CollectorRegistry
    server: ApiServer
    address: ListenAddress
    channel: grpc.aio.Channel
    jobs: batch_inference_pb2_grpc.BatchInferenceAsyncStub
    datasets: datasets_pb2_grpc.DatasetsAsyncStub
    exports: exports_pb2_grpc.ExportsAsyncStub
    fleet: fleet_pb2_grpc.FleetAsyncStub
    tenants: tenants_pb2_grpc.TenantsAsyncStub


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a caller is told of an error."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: dict[str, str]
    """Violations by field path."""
    details: list[str]
    """The types of all details."""


async def refusal(call: Awaitable[Any]) -> Refusal:
    """Await a call that must fail, and return what it failed with."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return _refusal(error)
    raise AssertionError(f"was not refused, but answered {answer}")


def _refusal(error: grpc.aio.AioRpcError) -> Refusal:
    raw = dict(error.trailing_metadata()).get(DETAILS_KEY, b"")
    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "lorax-batch"
    return Refusal(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        metadata=dict(info.metadata),
        fields={violation.field: violation.description for violation in bad.field_violations},
        details=[detail.type_url.rpartition(".")[2] for detail in status.details],
    )


@pytest_asyncio.fixture
async def api(stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
    """Yield a service with its clients."""
    async with open_api(stores, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def open_api(
    stores: Stores, tmp_path: Path, ring: KeyRing | None = None, *, first_id: int = 1
) -> AsyncIterator[Api]:
    """Yield a service with its clients; with a `ring`, one that asks for keys."""
    registry = CollectorRegistry()
    metrics, stopping, clock = ApiMetrics(registry), Stopping(), SystemClock()
    catalogue = Catalogue.load()
    import_root = tmp_path / "imports"
    import_root.mkdir()
    buckets = S3CallerBuckets(imports=["s3://theirs/in"], exports=["s3://theirs/out", "s3://acmes?tenant=acme"])
    numbers = itertools.count(first_id)
    hub = WatchHub(stores.jobs, stores.jobs, stopping, heartbeat_s=0.2, progress_interval_s=0.02, poll_s=5)
    fleet_hub = FleetHub(stores.fleet, stopping, heartbeat_s=0.2, interval_s=0.02, poll_s=0.1)
    rules = AddressRules(networks=(ip_network("127.0.0.0/8"),), allow_http=True)
    async with DirectoryObjectStore(tmp_path / "objects") as objects, Sender(rules, clock) as sender:
        removals = Removals(stores.removals, objects, clock=clock)
        reader = ResultReader(stores.results, stores.jobs, objects)
        terms = JobTerms(max_parameters=16_000_000_000, default_max_tokens=1024, price_micros_per_million=500_000)

        def new_job_id() -> str:
            return f"job_{next(numbers):024d}"

        def new_dataset_id() -> str:
            return f"ds_{next(numbers):024d}"

        async def begin_upload(dataset_id: str, *, offset: int) -> DatasetUpload:
            limits = UploadLimits(part_bytes=PART_BYTES)
            return await DatasetUpload.begin(stores.datasets, objects, dataset_id, offset=offset, limits=limits)

        jobs = BatchInferenceService(
            JobParts(
                jobs=stores.jobs,
                catalogue=catalogue,
                intake=JobIntake(stores.jobs, stores.datasets, catalogue, terms, clock, new_job_id),
                hub=hub,
                results=ResultStream(stores.jobs, reader, stores.jobs, stopping, follow_poll_s=5),
                input_order=InputOrder(stores.jobs, reader, stopping, window_bytes=4_000),
                download=Download(stores.jobs, objects, stopping),
                removals=removals,
                remains=Remains(stores.retention, clock=clock),
                translator=JobTranslator("USD", RETENTION),
                metrics=metrics,
                clock=clock,
                new_id=new_job_id,
            )
        )
        datasets = DatasetsService(
            DatasetParts(
                datasets=stores.datasets,
                objects=objects,
                begin_upload=begin_upload,
                removals=removals,
                metrics=metrics,
                new_id=new_dataset_id,
                resolve_import=ImportSources([import_root], buckets, max_bytes=MAX_DATASET_BYTES).resolve,
                max_dataset_bytes=MAX_DATASET_BYTES,
                retention=RETENTION,
                upload_idle_s=0.3,
            )
        )
        exports = ExportsService(
            ExportParts(
                jobs=stores.jobs,
                objects=objects,
                exports=stores.exports,
                buckets=buckets,
                clock=clock,
                new_id=lambda: f"exp_{next(numbers):024d}",
            )
        )
        server = ApiServer(
            FleetService(stores.fleet, fleet_hub, clock),
            batch_inference=jobs,
            datasets=datasets,
            exports=exports,
            metrics=metrics,
            stopping=stopping,
            tenants=TenantsService(stores.access, clock),
            webhooks=WebhooksService(stores.webhooks, sender, clock, new_id=lambda: f"wh_{next(numbers):024d}"),
            access=KeyAccess(ring, clock) if ring is not None else None,
        )
        hubs = [asyncio.create_task(each.run()) for each in (hub, fleet_hub, ring) if each is not None]
        address = await server.start(ListenAddress(host="127.0.0.1", port=0))
        async with grpc.aio.insecure_channel(str(address)) as channel:
            yield Api(
                stores=stores,
                objects=objects,
                import_root=import_root,
                fleet_hub=fleet_hub,
                registry=registry,
                server=server,
                address=address,
                channel=channel,
                jobs=batch_inference_pb2_grpc.BatchInferenceStub(channel),
                datasets=datasets_pb2_grpc.DatasetsStub(channel),
                exports=exports_pb2_grpc.ExportsStub(channel),
                fleet=fleet_pb2_grpc.FleetStub(channel),
                tenants=tenants_pb2_grpc.TenantsStub(channel),
            )
        await server.stop(0)
        for task in hubs:
            task.cancel()
        await asyncio.wait(hubs)
