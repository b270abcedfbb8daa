"""The part of a service that runs jobs: takes datasets in, sends rows to servers, brings jobs to their end."""

import asyncio
import random
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.estimates import Estimates
from lorax_batch_scheduler.estimates.learned_keeper import LearnedKeeper
from lorax_batch_scheduler.exporter import Exporter
from lorax_batch_scheduler.fleet import ServerLimits, Slot
from lorax_batch_scheduler.ingest.ingestion import Ingestion
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.launching.derivation import derive_launch
from lorax_batch_scheduler.launching.model_match import mismatch_reason
from lorax_batch_scheduler.lorax_servers.probe import ServerProbe
from lorax_batch_scheduler.ports.row_runner import RowRunner
from lorax_batch_scheduler.ports.server_host import LaunchedServer
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.retention.caretaker import Caretaker
from lorax_batch_scheduler.retention.remains import Remains
from lorax_batch_scheduler.retention.tenant_removal import TenantRemoval
from lorax_batch_scheduler.running.runner import RunnerSettings, ServerRunner
from lorax_batch_scheduler.scheduling.admission_desk import AdmissionDesk
from lorax_batch_scheduler.scheduling.chunk_loader import ChunkLoader
from lorax_batch_scheduler.scheduling.cluster_sight import ClusterSight
from lorax_batch_scheduler.scheduling.committer import Committer
from lorax_batch_scheduler.scheduling.finaliser import Finaliser
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.fleet_record import FleetRecord
from lorax_batch_scheduler.scheduling.forecaster import Forecaster
from lorax_batch_scheduler.scheduling.job_book import KnownJob
from lorax_batch_scheduler.scheduling.job_shape import shape_of
from lorax_batch_scheduler.scheduling.job_traces import JobTraces
from lorax_batch_scheduler.scheduling.learner import Learner
from lorax_batch_scheduler.scheduling.lease_keeper import LeaseKeeper
from lorax_batch_scheduler.scheduling.placer import Placer
from lorax_batch_scheduler.scheduling.row_needs import RowNeeds
from lorax_batch_scheduler.scheduling.scheduler import Scheduler
from lorax_batch_scheduler.scheduling.server_watch import ServerWatch
from lorax_batch_scheduler.scheduling.start_failures import StartFailures
from lorax_batch_scheduler.scheduling.turn_taking import TurnTaking
from lorax_batch_scheduler.scheduling.unfit_jobs import UnfitJobs
from lorax_batch_scheduler.scheduling.work_left import WorkLeft
from lorax_batch_scheduler.telemetry.fleet_sample import FleetSample, take_sample
from lorax_batch_scheduler.telemetry.tally import Tally
from lorax_batch_scheduler.telemetry.tracing import Tracer

from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.hosts import make_hosts
from lorax_batch_server.settings import Settings
from lorax_batch_server.stores import Stores

RELEASE_S: Final = 5.0
"""How long a shutdown tries to give a dataset back, else the others wait for the end of the lease; and to store what
was learned last."""

SAMPLE_INTERVAL_S: Final = 2.0
"""Gauges of servers, slots and queues are at most so old."""

_log = structlog.get_logger(__name__)


class SchedulerPart:
    """One scheduler with its lease, its servers and its ingest; `run` and `stop` are its life.

    *Resources*: the scratch space of `directory`, connections to its servers, a child process while it ingests.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        removals: Removals,
        directory: DataDirectory,
        *,
        catalogue: Catalogue,
        clock: Clock,
        tracer: Tracer,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._directory = directory
        self._catalogue = catalogue
        self._clock = clock
        self.tally = Tally()
        self._tracer = tracer
        self._traces = JobTraces(tracer, stores.datasets, clock)
        self.sample = FleetSample()
        """How servers, slots and queues were a moment ago; kept only while `sampling`."""
        self._server_tls = settings.client_tls("server")
        # Nobody else can use the embedded database: whoever had leases before is dead.
        self._exclusive = stores.embedded is not None
        self._keeper = LeaseKeeper(
            leases=stores.leases,
            new_id=lambda: f"scheduler_{secrets.token_hex(8)}",
            clock=clock,
            exclusive=self._exclusive,
            lease=timedelta(seconds=settings.lease_s),
        )
        self._estimates = Estimates()
        self._learned = LearnedKeeper(self._estimates.book, stores.learned, clock)
        self._learner = Learner(self._estimates, model_of=self._catalogue.identify, clock=clock)
        self.tally.coverage = self._estimates.calibration.coverage
        self._keeper.on_lost(self.tally.lease_lost)
        self._scheduler = self._make_scheduler()
        self._fleet = self._make_fleet()
        self._record = FleetRecord(
            stores.fleet,
            self._fleet,
            scheduler_id=lambda: self._keeper.scheduler_id,
            clock=clock,
            alone=self._exclusive,
            on_drained=self._obey_drains,
        )
        self._sight = self._make_sight()
        self.admission = AdmissionDesk(self._sight, self._estimates)
        self._scheduler.use(
            self._fleet,
            elsewhere=lambda: self._record.elsewhere,
            placer=self._make_placer(),
            learner=self._learner,
            unfit=UnfitJobs(stores.fleet, fail=settings.unfit_jobs == "fail", alone=self._exclusive, clock=clock),
            refresh_needs=RowNeeds(self._all_slots, self._catalogue.identify).refresh,
        )
        self._ingestion = self._make_ingestion(removals, directory)
        self._exporter = Exporter(
            stores.exports,
            stores.jobs,
            stores.objects,
            stores.buckets,
            scheduler_id=lambda: self._keeper.scheduler_id,
            clock=clock,
            tracer=tracer,
        )
        self._caretaker = self._make_caretaker()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Run jobs until `stop`."""
        await self._keeper.register()
        await self._record.read_drained()
        await self._learned.load()
        async with asyncio.TaskGroup() as group:
            learning = group.create_task(self._learned.run())
            ingesting = group.create_task(self._ingestion.run())
            scheduling = group.create_task(self._scheduler.run())
            recording = group.create_task(self._record.run())
            sampling = group.create_task(self._keep_sampling())
            exporting = group.create_task(self._exporter.run())
            tidying = group.create_task(self._caretaker.run())
            await self._stopped.wait()
            tidying.cancel()
            ingesting.cancel()
            exporting.cancel()
            await asyncio.wait([ingesting, exporting])
            await self._release_dataset()
            await asyncio.wait([scheduling])
            learning.cancel()
            await self._store_learned()
            # Last of all: operators see the servers drain.
            recording.cancel()
            sampling.cancel()

    async def _keep_sampling(self) -> None:
        """Look at the fleet again and again, for metrics: only the event loop's own thread may."""
        while self._settings.metrics_port is not None:
            drained = frozenset(self._record.drained)
            self.sample = take_sample(self._fleet, drained, self._scheduler.book, self._clock.now())
            await self._clock.sleep(SAMPLE_INTERVAL_S)

    async def _store_learned(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._learned.store()
        except (TimeoutError, DatabaseError) as error:
            _log.warning("learned_not_stored", error=repr(error))

    async def _release_dataset(self) -> None:
        """Let another process ingest what was begun here, without waiting for the rows in flight to end."""
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._ingestion.release()
        except (TimeoutError, DatabaseError) as error:
            _log.warning("dataset_not_released", error=repr(error))

    def _obey_drains(self) -> None:
        self._fleet.obey(self._record.drained)
        self._scheduler.fleet_changed()

    def wake(self) -> None:
        """Something may be there to do."""
        self._scheduler.wake()

    def stop(self, grace_s: float) -> None:
        """Claim nothing more, let rows in flight end for so long, hand the rest back; `run` then returns."""
        self._scheduler.stop(grace_s)
        self._stopped.set()

    def hurry(self) -> None:
        """Wait no longer for rows in flight."""
        self._scheduler.hurry()

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
                max_attempts=self._settings.finalise_attempts,
            )

        return Scheduler(
            jobs=stores.jobs,
            events=stores.jobs,
            leases=stores.leases,
            keeper=self._keeper,
            loader=loader,
            make_finaliser=make_finaliser,
            clock=self._clock,
            exclusive=self._exclusive,
            commit_interval=timedelta(seconds=self._settings.commit_interval_s),
            tally=self.tally,
            traces=self._traces,
        )

    def _make_fleet(self) -> Fleet:
        settings, scheduler = self._settings, self._scheduler

        def make_runner(server_id: str, url: str, slot: Slot, limits: ServerLimits) -> RowRunner:
            return ServerRunner(
                server_id=server_id,
                url=url,
                limits=limits,
                slot=slot,
                sink=scheduler.committer,
                clock=self._clock,
                chance=random.Random(),  # noqa: S311 - jitter, not a secret
                on_returned=scheduler.returned,
                on_idle=scheduler.wake,
                log=structlog.get_logger("runner"),
                settings=RunnerSettings(stall_after_s=settings.stall_after_s),
                on_retry=self.tally.retried,
                on_timed=self._traces.row_answered,
                tls=self._server_tls,
            )

        def on_change() -> None:
            scheduler.fleet_changed()
            self._record.wake()
            self._fleet.heard()

        def make_watch(launched: LaunchedServer, slot: Slot) -> ServerWatch:
            return ServerWatch(
                launched.server_id,
                launched.url,
                slot,
                asked_model=launched.model,
                mismatch=lambda reported: self._mismatch(launched.model, reported),
                probe=ServerProbe(launched.url, tls=self._server_tls),
                make_runner=make_runner,
                base_model_of=lambda model: self._catalogue.identify(model).name,
                on_change=on_change,
                clock=self._clock,
            )

        def fleet_changed() -> None:
            scheduler.fleet_changed()
            self._record.wake()

        return Fleet(
            make_hosts(settings, self._directory, self._clock),
            make_watch=make_watch,
            clock=self._clock,
            failures=StartFailures(
                first_pause_s=settings.start_back_off_s, max_failed_starts=settings.max_failed_starts
            ),
            keep_servers=settings.keep_servers,
            on_change=fleet_changed,
            base_model_of=lambda model: self._catalogue.identify(model).name,
            on_ready=lambda family, kind, seconds: self._estimates.server_ready(family, kind, seconds=seconds),
        )

    def _make_sight(self) -> ClusterSight:
        return ClusterSight(
            fleet=lambda: self._fleet,
            others=lambda: self._record.others,
            book=self._scheduler.book,
            estimates=self._estimates,
            learner=self._learner,
            left=WorkLeft(self._stores.jobs, self._clock),
            model_of=self._catalogue.identify,
            clock=self._clock,
        )

    def _make_placer(self) -> Placer:
        return Placer(
            fleet=lambda: self._fleet,
            book=self._scheduler.book,
            sight=self._sight,
            turns=TurnTaking(
                self._stores.planning_turns,
                self._record,
                scheduler_id=lambda: self._keeper.scheduler_id,
                clock=self._clock,
                alone=self._exclusive,
            ),
            forecaster=Forecaster(jobs=self._stores.jobs, book=self._scheduler.book, estimates=self._estimates),
            make_launch=self._make_launch,
            clock=self._clock,
            on_placed=self._scheduler.wake,
            on_planned=self.tally.plans.add,
        )

    async def _make_launch(self, known: KnownJob, slot: Slot) -> Launch:
        return derive_launch(
            known.job.server_config,
            self._catalogue.identify(known.job.base_model_id),
            slot,
            shape_of(each for each in self._scheduler.book.runnable if each.family == known.family),
            default_tag="",
            hf_token=(await self._stores.jobs.secrets(known.job.job_id)).hf_token or None,
        )

    def _all_slots(self) -> list[Slot]:
        return [*self._fleet.slots(), *(status.slot for status in self._record.others.slots)]

    def _mismatch(self, asked: str, reported: str) -> str:
        """Return what is wrong with what a server reports; nothing with a static one, which was asked for nothing."""
        return mismatch_reason(self._catalogue.identify(asked), reported) if asked else ""

    def _make_caretaker(self) -> Caretaker:
        stores = self._stores
        return Caretaker(
            stores.retention,
            stores.jobs,
            stores.objects,
            Remains(stores.retention, clock=stores.clock),
            TenantRemoval(stores.tenant_removals, stores.jobs, stores.datasets),
            self._settings.retention,
            scheduler_id=lambda: self._keeper.scheduler_id,
            # Never scaled: policies are in days.
            clock=stores.clock,
        )

    def _make_ingestion(self, removals: Removals, directory: DataDirectory) -> Ingestion:
        return Ingestion(
            self._stores.datasets,
            self._stores.objects,
            removals,
            directory.scratch,
            clock=self._clock,
            new_id=lambda: secrets.token_hex(4),
            scheduler_id=lambda: self._keeper.scheduler_id,
            limits=IngestLimits(
                max_line_bytes=self._settings.max_line_bytes,
                adapter_sources=self._settings.allowed_adapter_sources,
            ),
            import_roots=[Path(root) for root in self._settings.import_roots],
            tally=self.tally,
            buckets=self._stores.buckets,
            tracer=self._tracer,
        )
