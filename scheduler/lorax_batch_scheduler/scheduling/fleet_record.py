"""Lets all processes see the servers of this one, and this one see theirs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.fleet import ServerStatus
from lorax_batch_scheduler.packing import ServerView
from lorax_batch_scheduler.ports.fleet_store import FleetStore
from lorax_batch_scheduler.scheduling.fleet import Fleet

INTERVAL_S: Final = 1.0
"""Callers see load this late; a server that is new or gone is recorded at once."""
RETRY_S: Final = 2.0

_log = structlog.get_logger()


class FleetRecord:
    """Writes down how the servers of this scheduler are, and reads what the others write."""

    def __init__(
        self, store: FleetStore, fleet: Fleet, *, scheduler_id: Callable[[], str], clock: Clock, alone: bool
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._scheduler_id = scheduler_id
        self._clock = clock
        self._alone = alone
        self._wake = asyncio.Event()
        self._told_as = ""
        self._told: list[ServerStatus] = []
        self.elsewhere: tuple[ServerView, ...] = ()
        """Servers of other schedulers: nothing can be given to them, but jobs may wait for them."""

    def wake(self) -> None:
        """A server is new or gone."""
        self._wake.set()

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._tell()
                if not self._alone:
                    await self._look()
            except DatabaseError as error:
                _log.warning("fleet_not_recorded", error=str(error))
                await self._clock.sleep(RETRY_S)
                continue
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _tell(self) -> None:
        """Write what has changed since the last time; under a new name, everything."""
        scheduler_id, servers = self._scheduler_id(), self._fleet.servers()
        # A status is as new as the question; only what it says besides is news.
        news = [
            server
            for server, before in zip_longest(servers, self._told if scheduler_id == self._told_as else ())
            if before is None or server != replace(before, update_time=server.update_time)
        ]
        if news:
            await self._store.record_servers(scheduler_id, news)
            self._told_as, self._told = scheduler_id, servers

    async def _look(self) -> None:
        others = await self._store.servers(but_of=self._scheduler_id())
        ours = {slot.url for slot in self._fleet.slots()}
        self.elsewhere = tuple(_view(server) for server in others if server.slot.url not in ours)


def _view(server: ServerStatus) -> ServerView:
    return ServerView(
        server_id=server.server_id,
        url=server.url,
        state=server.state,
        reason=server.reason,
        base_model_id=server.base_model_id,
        wanted_rows=0,
        load=0.0,
    )
