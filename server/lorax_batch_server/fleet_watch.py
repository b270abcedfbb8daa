"""Tells callers how the fleet is: one task reads the store, however many watch."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.fleet import FleetState
from lorax_batch_scheduler.ports import FleetStore

from lorax_batch_server.fleet_changes import FleetChange, fleet_changes, keep_unchanged
from lorax_batch_server.stopping import Stopping

INTERVAL_S: Final = 0.5
"""Between two reads: a status is told twice a second at most."""
POLL_S: Final = 1.0
"""Nobody tells of queues, nor of a scheduler whose lease has run out."""
RETRY_S: Final = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FleetHeartbeat:
    """Nothing else to tell; the first one closes the snapshot."""


FleetHappening: TypeAlias = FleetChange | FleetHeartbeat


class FleetHub:
    """Fans out how the fleet is. `run` is its one task; the owner keeps it alive while watches are served."""

    def __init__(
        self,
        fleet: FleetStore,
        stopping: Stopping,
        *,
        heartbeat_s: float = 15.0,
        interval_s: float = INTERVAL_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._fleet = fleet
        self._stopping = stopping
        self._heartbeat_s = heartbeat_s
        self._interval_s = interval_s
        self._poll_s = poll_s
        self._wake = asyncio.Event()
        self._watchers: set[_Watcher] = set()
        self._state = FleetState()
        """As it was read last; what has not changed is the same object in the one before."""
        self._before = FleetState()
        self._changes: list[FleetChange] = []
        """From `_before` to `_state`: what watchers who keep up are told."""
        self._untold = False
        """Not every watcher was woken for what has changed."""
        self._heard = False
        self._told_at = 0.0
        """When all of them were, or could have been; by the loop's clock."""

    @property
    def watcher_count(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    # --- the one task ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read the fleet while somebody watches, and wake the watchers, until cancelled."""
        stop_hearing = self._fleet.on_change(self._hear)
        try:
            while True:
                if (delay_s := self._delay_s()) > 0:
                    await self._wait(delay_s)
                else:
                    await self._pass()
        finally:
            stop_hearing()

    def _hear(self) -> None:
        if self._watchers:
            self._heard = True
            self._wake.set()

    def _delay_s(self) -> float:
        """Return how long to wait before the next read."""
        if not self._watchers:
            return float("inf")
        if any(watcher.is_new for watcher in self._watchers):
            return 0.0
        interval_s = self._interval_s if self._heard or self._untold else self._poll_s
        return self._told_at + interval_s - asyncio.get_running_loop().time()

    async def _wait(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s if delay_s != float("inf") else None):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _pass(self) -> None:
        # Whoever comes during the read waits for the next one: a snapshot is never older than its call.
        newcomers = [watcher for watcher in self._watchers if watcher.is_new]
        self._heard = False
        try:
            state = await self._fleet.state()
        except DatabaseError as error:
            for watcher in newcomers:
                watcher.refuse(error)
            _log.warning("fleet_watch_read_failed", error=str(error), retry_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
            return
        self._publish(keep_unchanged(self._state, state), newcomers)

    def _publish(self, state: FleetState, newcomers: list["_Watcher"]) -> None:
        # No await here: watchers see all of it or nothing.
        changes = list(fleet_changes(self._state, state))
        if changes:
            self._before, self._state, self._changes, self._untold = self._state, state, changes, True
        for watcher in newcomers:
            watcher.is_new = False
            watcher.wake.set()
        now = asyncio.get_running_loop().time()
        if now < self._told_at + self._interval_s:
            return  # Read for newcomers: the others would be told more often than they were promised.
        self._told_at = now
        if self._untold:
            self._untold = False
            for watcher in self._watchers:
                watcher.wake.set()

    # --- what a watcher reads -------------------------------------------------------------------------------------

    async def watch(self) -> AsyncGenerator[FleetHappening, None]:
        """Yield everything as it is, a heartbeat, and then what changes.

        Raises:
            DatabaseError: the fleet can't be read at the beginning; later on the watch waits.
            StoppingError: the service shuts down.
        """
        self._stopping.check()
        time = asyncio.get_running_loop().time
        with self._registered() as watcher:
            while watcher.is_new:
                await self._stopping.wait(watcher.wake, self._heartbeat_s)
                watcher.check()
            for change in self._news(watcher):
                yield change
            next_heartbeat = 0.0
            while True:
                self._stopping.check()
                if time() >= next_heartbeat:
                    next_heartbeat = time() + self._heartbeat_s
                    yield FleetHeartbeat()
                await self._stopping.wait(watcher.wake, next_heartbeat - time())
                for change in self._news(watcher):
                    next_heartbeat = time() + self._heartbeat_s
                    yield change

    @contextmanager
    def _registered(self) -> Iterator["_Watcher"]:
        watcher = _Watcher()
        self._watchers.add(watcher)
        self._wake.set()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def _news(self, watcher: "_Watcher") -> list[FleetChange]:
        """Return what a watcher does not know yet, and take it for told."""
        told, watcher.told = watcher.told, self._state
        if told is self._state:
            return []
        return self._changes if told is self._before else list(fleet_changes(told, self._state))


class _Watcher:
    """The state of one watch: nothing waits for it but what it was told last, however slowly it reads."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.is_new = True
        """It was told nothing yet."""
        self.told = FleetState()
        self._error: DatabaseError | None = None

    def refuse(self, error: DatabaseError) -> None:
        """End the watch before it has begun."""
        self._error = error
        self.wake.set()

    def check(self) -> None:
        """Raise what the watch was refused with."""
        if self._error is not None:
            raise self._error
