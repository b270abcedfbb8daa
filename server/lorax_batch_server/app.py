"""Wiring: opens the stores, makes the parts that the role asks for, runs them, and takes them down in order."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

import structlog
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.clock import ScaledClock
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.failpoints import ARMED, check_armed
from lorax_batch_scheduler.postgres.database_watch import DatabaseState, DatabaseWatch
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.retention.remains import Remains
from lorax_batch_scheduler.telemetry.tracing import Tracer
from prometheus_client import CollectorRegistry, ProcessCollector

from lorax_batch_server.access import KeyAccess
from lorax_batch_server.api_part import ApiPart
from lorax_batch_server.collection import make_collector
from lorax_batch_server.fleet import FleetService
from lorax_batch_server.fleet_watch import FleetHub
from lorax_batch_server.hosts import check_fleet
from lorax_batch_server.import_roots import check_import_roots
from lorax_batch_server.key_ring import KeyRing
from lorax_batch_server.listen_address import ListenAddress
from lorax_batch_server.listener_guard import guarded_certificates
from lorax_batch_server.metrics import ApiMetrics, MetricsListener
from lorax_batch_server.operator_key import check_operator_key_file, ensure_operator_key, warn_without_operators
from lorax_batch_server.scheduler_metrics import ObjectCallsCollector, SchedulerCollector
from lorax_batch_server.scheduler_part import SchedulerPart
from lorax_batch_server.server import ApiServer
from lorax_batch_server.server_certificates import ServerCertificates
from lorax_batch_server.settings import Settings
from lorax_batch_server.stop_signals import StopSignals
from lorax_batch_server.stopping import Stopping
from lorax_batch_server.stores import Stores, open_stores
from lorax_batch_server.tenants import TenantsService
from lorax_batch_server.tracer import open_tracer
from lorax_batch_server.webhook_metrics import WebhookCollector

API_GRACE_S: Final = 5.0
"""How long unary calls may take to end in a shutdown; streams end at once and go on elsewhere."""

FAILED: Final = 1
"""The exit status of a service in which something failed that nothing handles."""

_log = structlog.get_logger(__name__)

OnReady = Callable[[ListenAddress], None]


async def serve(settings: Settings, *, on_ready: OnReady = lambda _: None) -> None:
    """Run the service until SIGTERM or SIGINT; a second one stops waiting for rows in flight.

    Raises:
        ConfigurationError: it can't start as it is configured.
        SystemExit: it failed, and has said so in its log.
    """
    if ARMED:
        # Only the process that checks a dataset runs it; what is armed there is inherited from here.
        import lorax_batch_scheduler.ingest.engine  # noqa: F401

        check_armed()
        _log.warning("failpoints_armed", names=sorted(ARMED))
    certificates = guarded_certificates(settings)
    settings.check_client_files()
    check_import_roots(settings)
    if settings.operator_key_file is not None:
        check_operator_key_file(settings.operator_key_file)
    catalogue = Catalogue.load(settings.catalogue, accept_unlisted=settings.accept_unlisted_models)
    check_fleet(settings)
    signals = StopSignals()
    signals.install()
    try:
        async with AsyncExitStack() as stack:
            tracer = await stack.enter_async_context(open_tracer(settings))
            stores = await signals.unless_stopped(stack.enter_async_context(open_stores(settings)))
            if stores is not None:
                await Service(settings, stores, tracer, certificates, catalogue).run(signals, on_ready)
    except Exception as error:
        cause = _sole_cause(error)
        if isinstance(cause, ConfigurationError):
            raise cause from error
        # One task that failed has ended all others: whoever supervises the process starts a whole one again.
        _log.critical("service_failed", error=repr(cause), exc_info=error)
        raise SystemExit(FAILED) from error
    _log.info("stopped")


def _sole_cause(error: Exception) -> Exception:
    """Return what task groups wrapped, when it is one thing."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Service:
    """One process of the service: callers, jobs, or both, as its role says."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        tracer: Tracer,
        certificates: ServerCertificates | None,
        catalogue: Catalogue,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._certificates = certificates
        self._registry = CollectorRegistry()
        metrics, stopping, clock = ApiMetrics(self._registry), Stopping(), stores.clock
        self._removals = Removals(stores.removals, stores.objects, clock=clock)
        self._collector = make_collector(settings, stores)
        remains = Remains(stores.retention, clock=clock)
        self._scheduling: SchedulerPart | None = None
        if stores.directory is not None:
            self._scheduling = SchedulerPart(
                settings,
                stores,
                self._removals,
                stores.directory,
                catalogue=catalogue,
                clock=clock if settings.time_scale == 1 else ScaledClock(clock, settings.time_scale),
                tracer=tracer,
            )
        self._api: ApiPart | None = None
        if settings.role.serves_callers:
            self._api = ApiPart(
                settings,
                stores,
                catalogue=catalogue,
                metrics=metrics,
                stopping=stopping,
                clock=clock,
                removals=self._removals,
                remains=remains,
                admission=self._scheduling.admission if self._scheduling is not None else None,
            )
        self._metrics = metrics
        self._registry.register(ObjectCallsCollector(stores.object_calls))
        self._registry.register(ProcessCollector(registry=None))
        if self._scheduling is not None:
            scheduling = self._scheduling
            self._registry.register(SchedulerCollector(scheduling.tally, lambda: scheduling.sample))
        if self._api is not None:
            self._registry.register(WebhookCollector(self._api.webhook_tally))
        self._keys = KeyRing(stores.access, clock) if settings.auth == "keys" else None
        self._fleet_hub = FleetHub(stores.fleet, stopping)
        self._server = ApiServer(
            FleetService(stores.fleet, self._fleet_hub, clock),
            batch_inference=self._api.batch_inference if self._api is not None else None,
            datasets=self._api.datasets if self._api is not None else None,
            exports=self._api.exports if self._api is not None else None,
            webhooks=self._api.webhooks if self._api is not None else None,
            metrics=metrics,
            stopping=stopping,
            tenants=TenantsService(stores.access, clock) if self._api is not None else None,
            access=KeyAccess(self._keys, clock) if self._keys is not None else None,
        )

    async def run(self, signals: StopSignals, on_ready: OnReady) -> None:
        """Serve until asked to stop, then drain."""
        settings, stores = self._settings, self._stores
        if settings.operator_key_file is not None:
            await ensure_operator_key(stores.access, settings.operator_key_file)
        if self._keys is not None:
            await warn_without_operators(stores.access, stores.clock.now())
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            # Whatever goes wrong: a listener that is left behind by its loop crashes the interpreter.
            stack.push_async_callback(self._server.stop, 0.0)
            watch = DatabaseWatch(
                stores.database,
                timeout=timedelta(seconds=settings.database_timeout_s),
                on_change=self._database_changed,
                on_time=stores.clock.read,
            )
            background = [group.create_task(stores.listener.run()), group.create_task(watch.run())]
            if stores.embedded is not None:
                background.append(group.create_task(stores.embedded.supervise()))
            background.append(group.create_task(self._removals.run()))
            if self._scheduling is not None:
                background.append(group.create_task(self._collector.run()))
            background.append(group.create_task(self._fleet_hub.run()))
            if self._keys is not None:
                background.append(group.create_task(self._keys.run()))
            if self._api is not None:
                background.append(group.create_task(self._api.run()))
            scheduling = group.create_task(self._scheduling.run()) if self._scheduling is not None else None
            if settings.metrics_port is not None:
                listener = MetricsListener.start(self._registry, settings.metrics_host, settings.metrics_port)
                stack.callback(listener.stop)
                _log.info("metrics_listening", port=listener.port)
            address = await self._server.start(settings.listen_address, self._certificates)
            # Modules and wiring stay for good: looking through them would stop the loop for 60 ms now and then.
            gc.collect()
            gc.freeze()
            on_ready(address)
            await signals.stop.wait()
            _log.info("stopping", grace_s=settings.shutdown_grace_s)
            await self._drain(scheduling, signals.hurry)
            for task in background:
                task.cancel()

    async def _database_changed(self, state: DatabaseState) -> None:
        self._metrics.database_is(works=not state.trouble)
        await self._server.database_changed(answers=state.answers, trouble=state.trouble)
        if not state.trouble and self._scheduling is not None:
            self._scheduling.wake()

    async def _drain(self, scheduling: asyncio.Task[None] | None, hurry: asyncio.Event) -> None:
        """Refuse calls and end streams; meanwhile let rows in flight end, and hand the rest back."""
        grace_s = self._settings.shutdown_grace_s
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server.stop(min(API_GRACE_S, grace_s)))
            if self._scheduling is None or scheduling is None:
                return
            self._scheduling.stop(grace_s)
            hurried = group.create_task(hurry.wait())
            await asyncio.wait([scheduling, hurried], return_when=asyncio.FIRST_COMPLETED)
            if hurried.done():
                self._scheduling.hurry()
            hurried.cancel()
            await asyncio.wait([scheduling])
