"""The gRPC listener: our services, health and reflection on one port."""

import asyncio
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from lorax_batch.v1 import (
    batch_inference_pb2,
    batch_inference_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    exports_pb2,
    exports_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    tenants_pb2,
    tenants_pb2_grpc,
    webhooks_pb2,
    webhooks_pb2_grpc,
)
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.failpoints import failpoint

from lorax_batch_server.access import Access, OpenAccess
from lorax_batch_server.batch_inference import BatchInferenceService
from lorax_batch_server.datasets import DatasetsService
from lorax_batch_server.exports import ExportsService
from lorax_batch_server.fleet import FleetService
from lorax_batch_server.interceptor import CallInterceptor
from lorax_batch_server.listen_address import ListenAddress
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.outage import Outage
from lorax_batch_server.server_certificates import ServerCertificates
from lorax_batch_server.stopping import Stopping
from lorax_batch_server.tenants import TenantsService
from lorax_batch_server.webhooks import WebhooksService

MAX_UPLOAD_MESSAGE_BYTES: Final = 4 << 20
HEALTH_TIMEOUT_S: Final = 1.0
"""A caller of health's Watch that takes no message holds up the others; a check by them then tells what was before."""
MAX_PENDING_CALLS: Final = 20_000
"""Calls that may wait to be taken, at about 20 KiB each: as many as watchers may come back all at once."""
_OPTIONS: Final = (
    # The defaults, 1,000 and 3,000, end calls above the first at random, with a CANCELLED that nobody asked for.
    ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING_CALLS),
    # Without it a second service on the same port starts, and gets half of the calls.
    ("grpc.so_reuseport", 0),
    # What the contract allows in one upload message, and its framing.
    ("grpc.max_receive_message_length", MAX_UPLOAD_MESSAGE_BYTES + 64 * 1024),
    # A caller that has vanished is noticed within 80 s, so that its streams do not stay.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Callers may ask the same of us; the default takes more than one ping in 5 minutes for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)

_log = structlog.get_logger(__name__)


class ApiServer:
    """Listens, and stops without cutting off what can end by itself. None: a service that this role does not offer."""

    def __init__(
        self,
        fleet: FleetService,
        *,
        batch_inference: BatchInferenceService | None,
        datasets: DatasetsService | None,
        exports: ExportsService | None,
        metrics: ApiMetrics,
        stopping: Stopping,
        tenants: TenantsService | None = None,
        access: Access | None = None,
        webhooks: WebhooksService | None = None,
    ) -> None:
        """`access`: None where calls need no keys."""
        self._stopping = stopping
        self._outage = Outage()
        self._health_status = health_pb2.HealthCheckResponse.SERVING
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor(metrics, stopping, self._outage, access or OpenAccess())], options=_OPTIONS
        )
        offered: list[tuple[Any, str]] = [(fleet_pb2, "Fleet")]
        if batch_inference is not None:
            offered.append((batch_inference_pb2, "BatchInference"))
            batch_inference_pb2_grpc.add_BatchInferenceServicer_to_server(batch_inference, self._server)
        if datasets is not None:
            offered.append((datasets_pb2, "Datasets"))
            datasets_pb2_grpc.add_DatasetsServicer_to_server(datasets, self._server)
        if exports is not None:
            offered.append((exports_pb2, "Exports"))
            exports_pb2_grpc.add_ExportsServicer_to_server(exports, self._server)
        if tenants is not None:
            offered.append((tenants_pb2, "Tenants"))
            tenants_pb2_grpc.add_TenantsServicer_to_server(tenants, self._server)
        if webhooks is not None:
            offered.append((webhooks_pb2, "Webhooks"))
            webhooks_pb2_grpc.add_WebhooksServicer_to_server(webhooks, self._server)
        fleet_pb2_grpc.add_FleetServicer_to_server(fleet, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = [module.DESCRIPTOR.services_by_name[name].full_name for module, name in offered]
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection([*self._names, health_name, reflection.SERVICE_NAME], self._server)

    async def start(self, address: ListenAddress, certificates: ServerCertificates | None = None) -> ListenAddress:
        """Listen and answer; return the address with the port that was taken. `certificates`: None to talk plain.

        Raises:
            ConfigurationError: the address is taken, or the certificates can't be used.
        """
        credentials = certificates.credentials() if certificates is not None else None
        try:
            if credentials is None:
                port = self._server.add_insecure_port(str(address))
            else:
                port = self._server.add_secure_port(str(address), credentials)
        except RuntimeError as error:
            raise ConfigurationError(
                f"can't listen on {address}: the port is taken or the address is not this machine's; choose another "
                "with --listen HOST:PORT (port 0: a free one)"
            ) from error
        await self._server.start()
        await self._tell_health()
        bound = address if address.socket else ListenAddress(host=address.host, port=port)
        _log.info("listening", address=str(bound), tls=credentials is not None)
        return bound

    async def database_changed(self, *, answers: bool, trouble: str) -> None:
        """Tell callers at once, not after a wait, while PostgreSQL does not answer, and health of any trouble."""
        if answers:
            self._outage.end()
        else:
            self._outage.begin(trouble)
        statuses = health_pb2.HealthCheckResponse
        self._health_status = statuses.NOT_SERVING if trouble else statuses.SERVING
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._tell_health()
        except TimeoutError:
            _log.warning("health_not_told", status=self._health_status)

    async def _tell_health(self) -> None:
        for name in ("", *self._names):
            await self._health.set(name, self._health_status)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, end streams at once, let the other calls end, and cut off what is left after the grace."""
        await self._health.enter_graceful_shutdown()
        await self._end_streams()
        # Shielded: a stop that is given up half-way leaves calls and the port behind.
        await asyncio.shield(self._server.stop(grace_s))

    @failpoint(before="drain.before_streams_end", after="drain.after_streams_end")
    async def _end_streams(self) -> None:
        """Readiness is gone by now: balancers send nobody here any more."""
        self._stopping.begin()
