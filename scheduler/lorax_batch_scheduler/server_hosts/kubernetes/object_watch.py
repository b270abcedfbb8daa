"""A copy of a fleet's objects of one kind that follows the cluster: list once, then watch from there."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import ClusterApi, Resource, WatchEvent
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_error import ClusterError
from lorax_batch_scheduler.server_hosts.kubernetes.naming import Object

FIRST_BACK_OFF_S: Final = 0.5
MAX_BACK_OFF_S: Final = 30.0

_log = structlog.get_logger()


class ObjectWatch:
    """Objects by their names, as the cluster last told of them."""

    def __init__(self, resource: Resource, selector: str, on_change: Callable[[], None]) -> None:
        self.objects: dict[str, Object] = {}
        self.listed = asyncio.Event()
        """Set when all objects were seen once."""
        self.listed_at = float("-inf")
        """A monotonic time before which everything that had happened is seen."""
        self._resource = resource
        self._selector = selector
        self._on_change = on_change
        self._version: str | None = None
        self._failures = 0
        self._expiries = 0
        """Both in a row: a watch that tells something, or ends in order, begins them anew."""

    def __repr__(self) -> str:
        return f"ObjectWatch({self._resource.name}, {len(self.objects)} objects at {self._version})"

    async def run(self, api: ClusterApi) -> None:
        """Follow until cancelled; what fails is tried again, ever less often."""
        self._version = None
        while True:
            try:
                await self._follow(api)
            except ClusterError as error:
                await self._after_error(api, error)

    async def _follow(self, api: ClusterApi) -> None:
        """List, unless it is known what to watch from, then watch until the API ends that."""
        if self._version is None:
            await self._list(api)
        assert self._version is not None
        async for event in api.watch(self._resource, self._selector, self._version):
            self._failures = self._expiries = 0
            self._take(event)
        self._failures = self._expiries = 0

    async def _after_error(self, api: ClusterApi, error: ClusterError) -> None:
        """Forget the version if it is too old, or if the API may not know it; then wait."""
        if error.is_expired or error.status >= 400:
            self._version = None
        self._failures += 1
        self._expiries += error.is_expired
        if error.is_expired and self._expiries == 1:
            # Nothing is wrong: the cluster keeps changes for minutes only, and forgets them when its API starts anew.
            self._failures = 0
            return
        back_off_s = min(MAX_BACK_OFF_S, FIRST_BACK_OFF_S * 2 ** min(self._failures - 1, 10)) * (
            0.5 + api.caller.chance() / 2
        )
        _log.warning("kubernetes_watch_failed", resource=self._resource.name, error=str(error), retry_s=back_off_s)
        await api.caller.clock.sleep(back_off_s)

    async def _list(self, api: ClusterApi) -> None:
        asked_at = api.caller.clock.monotonic()
        items, self._version = await api.list_objects(self._resource, self._selector)
        self.objects = {item["metadata"]["name"]: item for item in items}
        self.listed_at = asked_at
        self.listed.set()
        self._on_change()

    def _take(self, event: WatchEvent) -> None:
        metadata = event.item["metadata"]
        self._version = metadata["resourceVersion"]
        if event.type == "BOOKMARK":  # nothing changed for us, but the version moves on and does not expire
            return
        if event.type == "DELETED":
            self.objects.pop(metadata["name"], None)
        else:
            self.objects[metadata["name"]] = event.item
        self._on_change()
