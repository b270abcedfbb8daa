"""The lease that keeps two services from running one fleet: a Lease object of the cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ConfigurationError, FleetError
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import ClusterApi, Resource
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_error import ClusterError
from lorax_batch_scheduler.server_hosts.kubernetes.fleet import KubernetesFleet
from lorax_batch_scheduler.server_hosts.kubernetes.naming import Object, lease_labels

LEASE_S: Final = 8.0
"""A service that has not renewed its lease for so long is dead, or cut off from the cluster."""
RENEW_S: Final = 2.0
RETRY_S: Final = 1.0
PATIENCE_S: Final = LEASE_S + 2 * RETRY_S
"""So long is waited for another service to end, or to have ended without giving its lease back."""
RELEASE_S: Final = 3.0

_log = structlog.get_logger()


class FleetLease:
    """The right to run a fleet. Whether its holder lives is told by the clock of this process alone."""

    def __init__(self, api: ClusterApi, fleet: KubernetesFleet, holder: str, clock: Clock) -> None:
        """`holder`: a name that no other life of any service has."""
        self._api = api
        self._fleet = fleet
        self._holder = holder
        self._clock = clock
        self._name = f"lorax-{fleet.fleet}"
        self._held: Object = {}
        """As the cluster last told it."""

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Take the lease, renew it meanwhile, and give it back.

        Raises:
            ConfigurationError: another service runs the fleet, or the account may not use leases.
            FleetError: another service has taken it over meanwhile; in an exception group.
        """
        await self._take()
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                yield
                renewing.cancel()
        finally:
            await self._give_back()

    async def _take(self) -> None:
        seen, seen_since, since = "", self._clock.monotonic(), self._clock.monotonic()
        while True:
            try:
                lease = await self._read()
                holder, version = _holder(lease), str(lease["metadata"].get("resourceVersion", ""))
                now = self._clock.monotonic()
                if version != seen:
                    seen, seen_since = version, now
                if not holder or now - seen_since > LEASE_S:
                    await self._write(lease, self._holder)
                    _log.info("kubernetes_fleet_taken", fleet=self._fleet.fleet, holder=self._holder, before=holder)
                    return
                if now - since > PATIENCE_S:
                    raise ConfigurationError(
                        f"the fleet '{self._fleet.fleet}' in the namespace '{self._fleet.namespace}' is run by another "
                        f"service, {holder}: stop that one, or give this one a `fleet` of its own in [kubernetes]"
                    )
            except ClusterError as error:
                self._check_allowed(error)
                _log.warning("kubernetes_lease_waits", error=str(error), retry_s=RETRY_S)
            await self._clock.sleep(RETRY_S)

    async def _read(self) -> Object:
        """Return the lease; one without a version is not there yet."""
        try:
            return await self._api.get(Resource.LEASE, self._name)
        except ClusterError as error:
            if not error.is_not_found:
                raise
        metadata = {"name": self._name, "namespace": self._fleet.namespace, "labels": lease_labels(self._fleet.fleet)}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}

    async def _write(self, lease: Object, holder: str) -> None:
        """Write it as it was read but for the holder; a conflict when somebody else has written it meanwhile."""
        spec: dict[str, Any] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": round(LEASE_S),
            "renewTime": _micro_time(self._clock.now()),
        }
        if "resourceVersion" in lease["metadata"]:
            self._held = await self._api.replace(Resource.LEASE, {**lease, "spec": spec})
        else:
            self._held = await self._api.create(Resource.LEASE, {**lease, "spec": spec})

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            try:
                await self._write(self._held, self._holder)
            except ClusterError as error:
                if error.is_conflict or error.is_not_found:
                    await self._find_again()
                else:
                    # Nothing can be done in this cluster now; should another service take the fleet, the next try
                    # tells.
                    _log.warning("kubernetes_lease_not_renewed", error=str(error))

    async def _find_again(self) -> None:
        """Go on with a lease that somebody has written, as long as it is ours."""
        try:
            lease = await self._read()
        except ClusterError as error:
            _log.warning("kubernetes_lease_not_renewed", error=str(error))
            return
        if (holder := _holder(lease)) not in ("", self._holder):
            raise FleetError(
                f"another service, {holder}, has taken over the fleet '{self._fleet.fleet}' in the namespace "
                f"'{self._fleet.namespace}': this one could not renew its lease for {LEASE_S:g} s"
            )
        self._held = lease

    async def _give_back(self) -> None:
        """Let the next service take it at once; without that it waits until the lease has run out."""
        try:
            async with asyncio.timeout(RELEASE_S):
                if _holder(self._held) == self._holder:
                    await self._write(self._held, "")
        except (TimeoutError, ClusterError) as error:
            _log.warning("kubernetes_lease_not_given_back", error=repr(error))

    def _check_allowed(self, error: ClusterError) -> None:
        if error.status == HTTPStatus.FORBIDDEN:
            raise ConfigurationError(
                f"the service's account needs to get, create and update leases of coordination.k8s.io in the namespace "
                f"'{self._fleet.namespace}': {error}"
            ) from error


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _micro_time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"
