"""The part of a service that callers talk to: what its calls need, and the tasks that feed watches and webhooks."""

import asyncio
import random
import secrets
from datetime import timedelta
from pathlib import Path

from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.ingest.imports import ImportSources
from lorax_batch_scheduler.ingest.uploads import DatasetUpload, UploadLimits
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.result_reader import ResultReader
from lorax_batch_scheduler.retention.remains import Remains
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookTally
from lorax_batch_scheduler.webhooks.back_off import BackOff
from lorax_batch_scheduler.webhooks.deliverer import Deliverer
from lorax_batch_scheduler.webhooks.sampler import WebhookSampler
from lorax_batch_scheduler.webhooks.sender import Sender

from lorax_batch_server.batch_inference import BatchInferenceService, JobParts
from lorax_batch_server.datasets import DatasetParts, DatasetsService
from lorax_batch_server.download import Download
from lorax_batch_server.exports import ExportParts, ExportsService
from lorax_batch_server.ids import new_dataset_id, new_export_id, new_job_id, new_webhook_id
from lorax_batch_server.input_order import InputOrder
from lorax_batch_server.job_intake import AdmissionDesk, JobIntake, JobTerms
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.result_stream import ResultStream
from lorax_batch_server.settings import Settings
from lorax_batch_server.stopping import Stopping
from lorax_batch_server.stores import Stores
from lorax_batch_server.translate_job import JobTranslator
from lorax_batch_server.watch import WatchHub
from lorax_batch_server.webhooks import WebhooksService


class ApiPart:
    """Jobs and datasets as callers reach them. It has no state of its own: any number of these serve one database."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        removals: Removals,
        remains: Remains,
        *,
        catalogue: Catalogue,
        metrics: ApiMetrics,
        stopping: Stopping,
        clock: Clock,
        admission: AdmissionDesk | None = None,
    ) -> None:
        """`admission`: of the scheduler in this process, if there is one."""
        self._settings = settings
        self._stores = stores
        self._metrics = metrics
        self._removals = removals
        self._remains = remains
        self._admission = admission
        self._hub = WatchHub(stores.jobs, stores.jobs, stopping)
        self.batch_inference = BatchInferenceService(self._job_parts(catalogue, stopping, clock))
        self.datasets = DatasetsService(self._dataset_parts())
        self.exports = ExportsService(
            ExportParts(
                jobs=stores.jobs,
                objects=stores.objects,
                exports=stores.exports,
                buckets=stores.buckets,
                clock=clock,
                new_id=new_export_id,
            )
        )
        self._sender = Sender(settings.address_rules, clock)
        self.webhooks = WebhooksService(stores.webhooks, self._sender, clock, new_id=new_webhook_id)
        self.webhook_tally = WebhookTally()
        self._sampler = WebhookSampler(stores.deliveries, self.webhook_tally)
        self._deliverer = Deliverer(
            stores.deliveries,
            self._sender,
            holder=f"api_{secrets.token_hex(8)}",
            currency=settings.currency,
            clock=clock,
            chance=random.Random(),  # noqa: S311 - jitter, not a secret
            back_off=BackOff(give_up_after=timedelta(days=settings.webhook_give_up_days)),
            tally=self.webhook_tally,
            exclusive=stores.embedded is not None,
        )

    async def run(self) -> None:
        """Tell watchers and webhooks what happens, until cancelled."""
        async with self._sender, asyncio.TaskGroup() as group:
            group.create_task(self._hub.run())
            group.create_task(self._deliverer.run())
            if self._settings.metrics_port is not None:
                group.create_task(self._sampler.run())

    def _job_parts(self, catalogue: Catalogue, stopping: Stopping, clock: Clock) -> JobParts:
        settings, stores = self._settings, self._stores
        terms = JobTerms(
            max_parameters=settings.max_parameters,
            default_max_tokens=settings.default_max_tokens,
            price_micros_per_million=settings.price_micros_per_million,
            adapter_sources=settings.allowed_adapter_sources,
        )
        reader = ResultReader(stores.results, stores.jobs, stores.objects)
        return JobParts(
            jobs=stores.jobs,
            catalogue=catalogue,
            intake=JobIntake(
                stores.jobs, stores.datasets, catalogue, terms, clock, new_job_id, admission=self._admission
            ),
            hub=self._hub,
            results=ResultStream(stores.jobs, reader, stores.jobs, stopping),
            input_order=InputOrder(stores.jobs, reader, stopping),
            download=Download(stores.jobs, stores.objects, stopping),
            removals=self._removals,
            remains=self._remains,
            translator=JobTranslator(settings.currency, settings.retention),
            metrics=self._metrics,
            clock=clock,
            new_id=new_job_id,
        )

    def _dataset_parts(self) -> DatasetParts:
        settings, stores = self._settings, self._stores
        roots = [Path(root) for root in settings.import_roots]
        sources = ImportSources(roots, stores.buckets, max_bytes=settings.max_dataset_bytes)
        return DatasetParts(
            datasets=stores.datasets,
            objects=stores.objects,
            begin_upload=self._begin_upload,
            removals=self._removals,
            metrics=self._metrics,
            new_id=new_dataset_id,
            resolve_import=sources.resolve,
            max_dataset_bytes=settings.max_dataset_bytes,
            retention=settings.retention,
        )

    async def _begin_upload(self, dataset_id: str, *, offset: int) -> DatasetUpload:
        limits = UploadLimits(max_bytes=self._settings.max_dataset_bytes)
        stores = self._stores
        return await DatasetUpload.begin(stores.datasets, stores.objects, dataset_id, offset=offset, limits=limits)
