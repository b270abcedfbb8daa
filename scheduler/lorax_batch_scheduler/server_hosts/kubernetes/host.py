"""Servers in a Kubernetes cluster."""

import asyncio
import platform
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock, SystemClock
from lorax_batch_scheduler.errors import FleetError, SlotOccupiedError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.server_hosts.kubernetes.caretaker import Caretaker
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import ClusterApi
from lorax_batch_scheduler.server_hosts.kubernetes.connection import connect, require_client
from lorax_batch_scheduler.server_hosts.kubernetes.fleet import KIND, KubernetesFleet
from lorax_batch_scheduler.server_hosts.kubernetes.fleet_lease import FleetLease
from lorax_batch_scheduler.server_hosts.kubernetes.fleet_state import STOPPED, FleetState
from lorax_batch_scheduler.server_hosts.kubernetes.launching import launch_server
from lorax_batch_scheduler.server_hosts.kubernetes.naming import ServerName
from lorax_batch_scheduler.server_hosts.kubernetes.observation import UrlOf, cluster_url

CONNECT_TIMEOUT_S: Final = 30.0
"""A start waits that long for what the cluster has of earlier lives."""
DELETE_TIMEOUT_S: Final = 60.0
"""Beyond the grace of pods, until all of them must be gone."""

_log = structlog.get_logger()


def kubernetes_host(
    fleet: KubernetesFleet, *, clock: Clock | None = None, url_of: UrlOf = cluster_url
) -> "KubernetesHost":
    """Return the host of a fleet, which connects as the fleet's configuration says.

    Raises:
        ConfigurationError: the client library is not installed.
    """
    require_client()
    clock = clock or SystemClock()
    holder = f"{platform.node()}-{uuid.uuid4().hex[:8]}"
    return KubernetesHost(fleet, lambda: connect(fleet, clock), clock=clock, url_of=url_of, holder=holder)


class KubernetesHost:
    """A `ServerHost`: each server is a Deployment of one pod, a Service and a Secret.

    The cluster is the only memory: all that a later life must know is in names, labels and annotations. Only one
    process at a time may run the host of a fleet; two would take each other's starts for unfinished ones. A lease in
    the cluster sees to that.
    """

    def __init__(
        self,
        fleet: KubernetesFleet,
        connect: Callable[[], AbstractAsyncContextManager[ClusterApi]],
        *,
        clock: Clock,
        url_of: UrlOf = cluster_url,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        holder: str = "",
    ) -> None:
        """`holder`: the name, of this life alone, under which it takes the lease; "": others see to it that it may."""
        self._fleet = fleet
        self._connect = connect
        self._clock = clock
        self._url_of = url_of
        self._new_id = new_id
        self._holder = holder
        self._slots = fleet.slot_table()
        self._state = FleetState(self._slots)
        self._servers: list[LaunchedServer] = []
        self._on_change: Callable[[], None] = lambda: None
        self._caretaker: Caretaker | None = None
        self._connected = asyncio.Event()
        """Set while what the cluster has is known."""
        self._quiet = asyncio.Event()
        """Set while no server is left."""

    def __repr__(self) -> str:
        return f"KubernetesHost({self._fleet.namespace}/{self._fleet.fleet}, {len(self._slots)} slots)"

    @property
    def kind(self) -> str:
        return KIND

    @property
    def slots(self) -> Sequence[Slot]:
        return [slot for slot, _ in self._slots.values()]

    @property
    def servers(self) -> Sequence[LaunchedServer]:
        return self._servers

    async def run(self, on_change: Callable[[], None]) -> None:
        """Adopt what runs, delete what can't go on, and follow the cluster until cancelled.

        `on_change` is also called once when all that was there is known, even if it was nothing.

        Raises:
            ConfigurationError: there are no credentials for the cluster, or another service runs the fleet.
        """
        self._on_change = on_change
        try:
            async with self._connect() as api, self._lease(api):
                self._caretaker = Caretaker(api, self._fleet, self._state, self._url_of, self._changed)
                await self._caretaker.run(self._connected, on_change)
        finally:
            self._connected.clear()
            self._caretaker = None

    def _lease(self, api: ClusterApi) -> AbstractAsyncContextManager[None]:
        return FleetLease(api, self._fleet, self._holder, self._clock).hold() if self._holder else nullcontext()

    async def start(self, slot_id: str, launch: Launch) -> str:
        if slot_id not in self._slots:
            raise FleetError(f"no slot {slot_id} in the fleet {self._fleet.fleet}")
        await self._wait_connected(slot_id)
        if occupant := self._state.occupant(slot_id):
            raise SlotOccupiedError(slot_id, occupant.server_id)
        _, slots = self._slots[slot_id]
        name = ServerName.make(self._fleet.fleet, slot_id, self._new_id())
        start_time = self._clock.now()
        self._state.begin_start(
            LaunchedServer(
                server_id=name.server_id,
                slot_id=slot_id,
                family=launch.family,
                model=launch.model,
                state=LaunchState.STARTING,
                start_time=start_time,
                config=launch.config,
                arguments=launch.arguments,
                reason="its objects are being created",
            )
        )
        self._changed()
        assert self._caretaker is not None
        try:
            await launch_server(self._caretaker.api, self._fleet, slots, name, launch, start_time)
        except BaseException:
            self._state.fail_start(name.server_id, self._clock.monotonic())
            self._changed()
            raise
        self._state.finish_start(name.server_id, self._clock.monotonic())
        self._changed()
        _log.info("server_started", server=name.server_id, slot=slot_id, model=launch.model, family=launch.family)
        return name.server_id

    async def stop(self, server_id: str) -> None:
        self._state.end(server_id, STOPPED)
        self._changed()

    async def close(self) -> None:
        """End all servers of the fleet and wait until they are gone.

        Raises:
            FleetError: some are still there after the grace of their pods and a minute more.
        """
        if self._caretaker is not None:
            await self._end_all()
            return
        try:
            async with asyncio.TaskGroup() as group:
                life = group.create_task(self.run(lambda: None))
                try:
                    await self._end_all()
                finally:
                    life.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _end_all(self) -> None:
        await self._wait_connected("all")
        try:
            async with asyncio.timeout(self._fleet.stop_grace_s + DELETE_TIMEOUT_S):
                for server in self._living():
                    await self.stop(server.server_id)
                await self._quiet.wait()
        except TimeoutError:
            left = ", ".join(server.server_id for server in self._living())
            raise FleetError(
                f"servers are still there: {left}: look at their pods in {self._fleet.namespace}"
            ) from None

    async def _wait_connected(self, slot_id: str) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._connected.wait()
        except TimeoutError:
            trouble = self._caretaker.trouble if self._caretaker else "the host does not run"
            raise FleetError(f"slot {slot_id}: the cluster is not known yet: {trouble}") from None

    def _living(self) -> list[LaunchedServer]:
        return [server for server in self._servers if server.state is not LaunchState.GONE]

    def _changed(self) -> None:
        """Take what the cluster shows, and tell if that makes a difference."""
        if self._caretaker is not None:
            self._caretaker.look()
        before, self._servers = self._servers, self._state.servers()
        if self._living():
            self._quiet.clear()
        else:
            self._quiet.set()
        if self._servers != before:
            self._on_change()
