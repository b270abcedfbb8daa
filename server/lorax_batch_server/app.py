"""Wiring: the one module that knows everything. Builds the parts of a service, runs them, takes them down in order."""

import asyncio
import gc
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.clock import DatabaseClock
from lorax_batch_scheduler.errors import ConfigurationError, ObjectStoreError
from lorax_batch_scheduler.failpoints import ARMED, check_armed
from lorax_batch_scheduler.fleet import ServerLimits, Slot
from lorax_batch_scheduler.ingest.imports import resolve_import
from lorax_batch_scheduler.ingest.ingestion import Ingestion
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.uploads import DatasetUpload, UploadLimits
from lorax_batch_scheduler.lorax_servers.probe import ServerProbe
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.ports.row_runner import RowRunner
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.database_watch import DatabaseState, DatabaseWatch, database_time
from lorax_batch_scheduler.postgres.dataset_store import PostgresDatasetStore
from lorax_batch_scheduler.postgres.job_store import PostgresJobStore
from lorax_batch_scheduler.postgres.lease_store import PostgresLeaseStore
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.migrations import migrate
from lorax_batch_scheduler.postgres.result_store import PostgresResultStore
from lorax_batch_scheduler.running.runner import RunnerSettings, ServerRunner
from lorax_batch_scheduler.scheduling.chunk_loader import ChunkLoader
from lorax_batch_scheduler.scheduling.committer import Committer
from lorax_batch_scheduler.scheduling.finaliser import Finaliser
from lorax_batch_scheduler.scheduling.scheduler import Scheduler
from lorax_batch_scheduler.scheduling.slot_watch import SlotWatch
from lorax_batch_scheduler.scheduling.static_fleet import StaticFleet
from prometheus_client import CollectorRegistry

from lorax_batch_server.batch_inference import BatchInferenceService, JobParts
from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.datasets import DatasetParts, DatasetsService
from lorax_batch_server.download import Download
from lorax_batch_server.embedded_database import EmbeddedDatabase
from lorax_batch_server.fleet import FleetService
from lorax_batch_server.ids import new_dataset_id, new_job_id
from lorax_batch_server.input_order import InputOrder
from lorax_batch_server.job_intake import JobIntake, JobTerms
from lorax_batch_server.listen_address import ListenAddress
from lorax_batch_server.metrics import ApiMetrics, MetricsListener
from lorax_batch_server.object_removal import ObjectRemoval
from lorax_batch_server.result_stream import ResultStream
from lorax_batch_server.server import ApiServer
from lorax_batch_server.server_spec import parse_servers
from lorax_batch_server.settings import Settings
from lorax_batch_server.stopping import Stopping
from lorax_batch_server.translate_job import JobTranslator
from lorax_batch_server.watch import WatchHub

API_GRACE_S: Final = 5.0
"""How long unary calls may take to end in a shutdown; streams end at once and go on elsewhere."""

_log = structlog.get_logger(__name__)

OnReady = Callable[[ListenAddress], None]


async def serve(settings: Settings, *, on_ready: OnReady = lambda _: None) -> None:
    """Run the service until SIGTERM or SIGINT; a second one stops waiting for rows in flight.

    Raises:
        ConfigurationError: it can't start as it is configured.
    """
    check_armed()
    if ARMED:
        _log.warning("failpoints_armed", names=sorted(ARMED))
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked_to_stop() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    async with open_stores(settings) as stores:
        await Service(settings, stores).run(stop, hurry, on_ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where everything is kept."""

    directory: DataDirectory
    objects: ObjectStore
    database: Database
    clock: DatabaseClock
    listener: Listener
    embedded: EmbeddedDatabase | None
    datasets: PostgresDatasetStore
    jobs: PostgresJobStore
    leases: PostgresLeaseStore
    results: PostgresResultStore


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Own the data directory, start PostgreSQL when it is the embedded one, and bring its schema up to date."""
    async with AsyncExitStack() as stack:
        directory = DataDirectory(settings.data_dir)
        directory.open()
        stack.callback(directory.close)
        try:
            store = open_object_store(settings.object_store or str(directory.objects))
            objects = await stack.enter_async_context(store)
        except ObjectStoreError as error:
            raise ConfigurationError(f"{error}; check --object-store (LORAX_BATCH_OBJECT_STORE)") from error
        embedded = None
        if settings.database_url is None:
            embedded = EmbeddedDatabase(directory.postgres)
            stack.push_async_callback(embedded.stop)
            dsn = await embedded.start()
        else:
            dsn = settings.database_url.get_secret_value()
        database = Database(dsn)
        await database.open()
        stack.push_async_callback(database.close)
        async with database.connection() as connection:
            applied = await migrate(connection)
            clock = DatabaseClock(await database_time(connection))
        if applied:
            _log.info("schema_migrated", versions=applied)
        listener = Listener(dsn)
        yield Stores(
            directory=directory,
            objects=objects,
            database=database,
            clock=clock,
            listener=listener,
            embedded=embedded,
            datasets=PostgresDatasetStore(database, listener),
            jobs=PostgresJobStore(database, listener),
            leases=PostgresLeaseStore(database),
            results=PostgresResultStore(database),
        )


class Service:
    """API and scheduler in one process."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores
        self._clock = stores.clock
        self._catalogue = Catalogue.load(settings.catalogue, accept_unlisted=settings.accept_unlisted_models)
        self._registry = CollectorRegistry()
        self._stopping = Stopping()
        self._metrics = ApiMetrics(self._registry)
        self._hub = WatchHub(stores.jobs, stores.jobs, self._stopping)
        self._scheduler = self._make_scheduler()
        self._fleet = self._make_fleet(self._scheduler)
        self._scheduler.use(self._fleet)
        self._ingestion = Ingestion(
            stores.datasets,
            stores.objects,
            stores.directory.scratch,
            clock=self._clock,
            new_id=lambda: secrets.token_hex(4),
            limits=IngestLimits(max_line_bytes=settings.max_line_bytes),
            import_roots=[Path(root) for root in settings.import_roots],
        )
        self._server = self._make_server()

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event, on_ready: OnReady) -> None:
        """Serve until `stop`, then drain; `hurry` ends the waiting for rows in flight."""
        stores = self._stores
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            # Whatever goes wrong: a listener that is left behind by its loop crashes the interpreter.
            stack.push_async_callback(self._server.stop, 0.0)
            watch = DatabaseWatch(
                stores.database,
                timeout=timedelta(seconds=self._settings.database_timeout_s),
                on_change=self._database_changed,
                on_time=self._clock.read,
            )
            background = [group.create_task(task.run()) for task in (stores.listener, self._hub, watch)]
            if stores.embedded is not None:
                background.append(group.create_task(stores.embedded.supervise()))
            scheduling = group.create_task(self._scheduler.run())
            ingesting = group.create_task(self._ingestion.run())
            if self._settings.metrics_port is not None:
                listener = MetricsListener.start(
                    self._registry, self._settings.metrics_host, self._settings.metrics_port
                )
                stack.callback(listener.stop)
            address = await self._server.start(
                self._settings.listen_address, allow_insecure=self._settings.allow_insecure
            )
            # Modules and wiring stay for good: looking through them would stop the loop for 60 ms now and then.
            gc.collect()
            gc.freeze()
            on_ready(address)
            await stop.wait()
            _log.info("stopping", grace_s=self._settings.shutdown_grace_s)
            ingesting.cancel()
            await self._server.stop(API_GRACE_S)
            await self._drain(scheduling, hurry)
            for task in background:
                task.cancel()
        _log.info("stopped")

    async def _database_changed(self, state: DatabaseState) -> None:
        await self._server.database_changed(answers=state.answers, trouble=state.trouble)
        if not state.trouble:
            self._scheduler.wake()

    async def _drain(self, scheduling: asyncio.Task[None], hurry: asyncio.Event) -> None:
        await self._scheduler.stop(self._settings.shutdown_grace_s)
        hurried = asyncio.ensure_future(hurry.wait())
        await asyncio.wait([scheduling, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not scheduling.done():
            scheduling.cancel()
            await asyncio.wait([scheduling])

    def _make_scheduler(self) -> Scheduler:
        stores = self._stores
        loader = ChunkLoader(stores.objects)

        def make_finaliser(committer: Committer) -> Finaliser:
            return Finaliser(
                leases=stores.leases,
                results=stores.results,
                objects=stores.objects,
                loader=loader,
                committer=committer,
            )

        return Scheduler(
            jobs=stores.jobs,
            events=stores.jobs,
            leases=stores.leases,
            loader=loader,
            make_finaliser=make_finaliser,
            clock=self._clock,
            new_id=lambda: f"scheduler_{secrets.token_hex(8)}",
            # Nobody else can use the embedded database: whoever had leases before is dead.
            exclusive=stores.embedded is not None,
            commit_interval=timedelta(seconds=self._settings.commit_interval_s),
            lease=timedelta(seconds=self._settings.lease_s),
        )

    def _make_fleet(self, scheduler: Scheduler) -> StaticFleet:
        def make_runner(slot: Slot, limits: ServerLimits) -> RowRunner:
            return ServerRunner(
                server_id=slot.slot_id,
                url=slot.url,
                limits=limits,
                slot=slot,
                sink=scheduler.committer,
                clock=self._clock,
                chance=random.Random(),  # noqa: S311 - jitter, not a secret
                on_returned=scheduler.returned,
                on_idle=scheduler.wake,
                log=structlog.get_logger("runner"),
                settings=RunnerSettings(stall_after_s=self._settings.stall_after_s),
            )

        return StaticFleet(
            [
                SlotWatch(
                    slot,
                    probe=ServerProbe(slot.url),
                    make_runner=make_runner,
                    base_model_of=self._base_model_of,
                    on_change=scheduler.wake,
                    clock=self._clock,
                )
                for slot in parse_servers(self._settings.servers, default_model=self._settings.default_server_model)
            ]
        )

    def _base_model_of(self, model: str) -> str:
        """Return the catalogue's name of a model, or its own where the catalogue does not know it."""
        known = self._catalogue.find(model)
        return known.name if known is not None else model

    def _make_server(self) -> ApiServer:
        settings, stores = self._settings, self._stores
        removal = ObjectRemoval(stores.objects)
        jobs = JobParts(
            jobs=stores.jobs,
            catalogue=self._catalogue,
            intake=JobIntake(
                stores.jobs,
                stores.datasets,
                self._catalogue,
                JobTerms(
                    max_parameters=settings.max_parameters,
                    default_max_tokens=settings.default_max_tokens,
                    price_micros_per_million=settings.price_micros_per_million,
                ),
                self._clock,
                new_job_id,
            ),
            hub=self._hub,
            results=ResultStream(stores.jobs, stores.results, stores.jobs, self._stopping),
            input_order=InputOrder(stores.jobs, stores.results, self._stopping),
            download=Download(stores.jobs, stores.objects, self._stopping),
            removal=removal,
            translator=JobTranslator(settings.currency),
            metrics=self._metrics,
            clock=self._clock,
            new_id=new_job_id,
        )
        datasets = DatasetParts(
            datasets=stores.datasets,
            objects=stores.objects,
            begin_upload=self._begin_upload,
            removal=removal,
            metrics=self._metrics,
            new_id=new_dataset_id,
            resolve_import=partial(resolve_import, roots=[Path(root) for root in settings.import_roots]),
            max_dataset_bytes=settings.max_dataset_bytes,
        )
        return ApiServer(
            BatchInferenceService(jobs),
            DatasetsService(datasets),
            FleetService(self._fleet),
            metrics=self._metrics,
            stopping=self._stopping,
        )

    async def _begin_upload(self, dataset_id: str, *, offset: int) -> DatasetUpload:
        limits = UploadLimits(max_bytes=self._settings.max_dataset_bytes)
        stores = self._stores
        return await DatasetUpload.begin(stores.datasets, stores.objects, dataset_id, offset=offset, limits=limits)
