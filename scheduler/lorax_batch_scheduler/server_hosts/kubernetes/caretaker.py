"""Looks after a fleet's objects: follows them, deletes what is to end, collects what an earlier life has left."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import structlog

from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import ClusterApi, Resource
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_error import ClusterError
from lorax_batch_scheduler.server_hosts.kubernetes.fleet import KubernetesFleet
from lorax_batch_scheduler.server_hosts.kubernetes.fleet_state import FleetState
from lorax_batch_scheduler.server_hosts.kubernetes.manifests import CONTAINER
from lorax_batch_scheduler.server_hosts.kubernetes.naming import SERVER_LABEL, Object, fleet_selector, label
from lorax_batch_scheduler.server_hosts.kubernetes.object_watch import ObjectWatch
from lorax_batch_scheduler.server_hosts.kubernetes.observation import Observed, UrlOf, is_garbage, observe

RETRY_S: Final = 5.0
"""Before what the cluster has refused is tried again."""
LOG_LINES: Final = 50
_CHILDREN: Final = (Resource.SERVICE, Resource.SECRET)

_log = structlog.get_logger()


class Caretaker:
    """One life of a host: while `run` runs, the state follows the cluster and the cluster follows the state."""

    def __init__(
        self,
        api: ClusterApi,
        fleet: KubernetesFleet,
        state: FleetState,
        url_of: UrlOf,
        on_change: Callable[[], None],
    ) -> None:
        self.api = api
        self.trouble = "it has not answered yet"
        """Why the first listing is not there."""
        self._slot_ids = fleet.slot_table().keys()
        self._selector = fleet_selector(fleet.fleet)
        self._state = state
        self._url_of = url_of
        self._on_change = on_change
        self._wake = asyncio.Event()
        self._deployments = ObjectWatch(Resource.DEPLOYMENT, self._selector, on_change)
        self._pods = ObjectWatch(Resource.POD, self._selector, on_change)

    async def run(self, connected: asyncio.Event, on_sorted: Callable[[], None]) -> None:
        """Set `connected`, and tell, when what an earlier life has left is sorted; go on until cancelled."""
        # Before the Deployments: one that is seen here, and its Deployment not there, has none.
        children = await self._list_children()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deployments.run(self.api))
            group.create_task(self._pods.run(self.api))
            await self._deployments.listed.wait()
            await self._pods.listed.wait()
            self._sort()
            connected.set()
            self._on_change()
            on_sorted()
            await self._delete_strays(children)
            await self._tend()

    def look(self) -> None:
        """Show the state what the cluster has now."""
        self._wake.set()
        if not (self._deployments.listed.is_set() and self._pods.listed.is_set()):
            return
        pods: defaultdict[str, list[Object]] = defaultdict(list)
        for pod in self._pods.objects.values():
            pods[label(pod, SERVER_LABEL)].append(pod)
        observed: dict[str, Observed] = {}
        for deployment in self._deployments.objects.values():
            server_id = label(deployment, SERVER_LABEL)
            observed[server_id] = observe(deployment, pods[server_id], self._url_of)
        self._state.see(observed, self._deployments.listed_at)

    def _sort(self) -> None:
        """Have the garbage deleted; what is left is adopted."""
        self.look()
        for deployment in self._deployments.objects.values():
            server_id = label(deployment, SERVER_LABEL)
            if is_garbage(deployment, self._slot_ids):
                self._state.end(server_id, "an earlier life of the service has left it unfinished, or its slot is gone")
                _log.info("server_collected", server=server_id)
            else:
                _log.info("server_adopted", server=server_id)

    async def _list_children(self) -> list[tuple[Resource, Object]]:
        """Return the Services and Secrets of the fleet, asked for until the cluster answers."""
        while True:
            try:
                return [
                    (resource, item)
                    for resource in _CHILDREN
                    for item in (await self.api.list_objects(resource, self._selector)).items
                ]
            except ClusterError as error:
                self.trouble = str(error)
                _log.warning("kubernetes_unreachable", error=str(error), retry_s=RETRY_S)
                await self.api.caller.clock.sleep(RETRY_S)

    async def _delete_strays(self, children: list[tuple[Resource, Object]]) -> None:
        """Delete Services and Secrets without a Deployment; the cluster would, but only if it knew the owner once."""
        owned = {label(deployment, SERVER_LABEL) for deployment in self._deployments.objects.values()}
        for resource, item in children:
            if label(item, SERVER_LABEL) in owned:
                continue
            metadata = item["metadata"]
            try:
                await self.api.delete(resource, metadata["name"], uid=metadata["uid"])
            except ClusterError as error:  # it does no harm, and the next life tries again
                _log.warning("kubernetes_stray_left", name=metadata["name"], error=str(error))

    async def _tend(self) -> None:
        """Do what the state wants done, whenever it may have changed."""
        while True:
            self._wake.clear()
            try:
                for item in self._state.crashed():
                    await self._end_crashed(item)
                for item in self._state.to_delete():
                    await self._delete(item)
            except ClusterError as error:
                _log.warning("kubernetes_delete_failed", error=str(error), retry_s=RETRY_S)
                await self.api.caller.clock.sleep(RETRY_S)
            else:
                await self._wake.wait()

    async def _delete(self, item: Observed) -> None:
        """Delete all three objects of a server; the Deployment last, since it is what shows that some are left."""
        server_id = item.server.server_id
        for resource in _CHILDREN:
            await self.api.delete(resource, server_id)
        await self.api.delete(Resource.DEPLOYMENT, item.deployment, uid=item.uid)
        self._state.note_told(server_id)
        _log.info("server_stopping", server=server_id)

    async def _end_crashed(self, item: Observed) -> None:
        """Give up a server that ends each time it is started: whether to try again is not the host's to say."""
        try:
            log_tail = await self.api.pod_log(item.pod, CONTAINER, previous=True, lines=LOG_LINES)
        except ClusterError as error:
            log_tail = []
            _log.warning("kubernetes_log_unavailable", server=item.server.server_id, error=str(error))
        self._state.end(item.server.server_id, item.server.reason, log_tail)
        self._on_change()
