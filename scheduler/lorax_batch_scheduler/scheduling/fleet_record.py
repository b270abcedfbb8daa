"""Lets all processes see the slots and servers of this one, and this one see theirs, and what operators drained."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.fleet import ServerStatus, Slot, SlotStatus
from lorax_batch_scheduler.packing import ServerView
from lorax_batch_scheduler.ports.fleet_store import FleetReport, FleetStore
from lorax_batch_scheduler.scheduling.server_view import view_of

INTERVAL_S: Final = 1.0
"""Callers see load this late; a server that is new or gone is recorded at once, and a drain is heard of at once."""
RETRY_S: Final = 2.0

_StatusT = TypeVar("_StatusT", ServerStatus, SlotStatus)
_log = structlog.get_logger()


class RecordedFleet(Protocol):
    """The slots and servers of this process, as callers see them."""

    def slots(self) -> Sequence[Slot]: ...

    def slot_statuses(self) -> Sequence[SlotStatus]: ...

    def servers(self) -> Sequence[ServerStatus]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFleets:
    """What other schedulers have: nothing can be given to them from here, but they do their part."""

    slots: tuple[SlotStatus, ...] = ()
    servers: tuple[ServerStatus, ...] = ()


class FleetRecord:
    """Writes down how the fleet of this scheduler is, and reads what the others write and operators say."""

    def __init__(
        self,
        store: FleetStore,
        fleet: RecordedFleet,
        *,
        scheduler_id: Callable[[], str],
        clock: Clock,
        alone: bool,
        on_drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._scheduler_id = scheduler_id
        self._clock = clock
        self._alone = alone
        self._on_drained = on_drained
        self._wake = asyncio.Event()
        self._told_as = ""
        self._told_slots: dict[str, SlotStatus] = {}
        self._told_servers: dict[str, ServerStatus] = {}
        self._telling = asyncio.Lock()
        self.others = OtherFleets()
        self.drained: Mapping[str, str] = {}
        """What an operator said of each slot that is out of service, by slot id; other schedulers' slots too."""

    @property
    def elsewhere(self) -> tuple[ServerView, ...]:
        """The servers of other schedulers as the planner of rows sees them."""
        return tuple(view_of(server) for server in self.others.servers)

    def wake(self) -> None:
        """A slot or server is new, gone, or in another state."""
        self._wake.set()

    async def run(self) -> None:
        """Record until cancelled."""
        stop_hearing = self._store.on_drained(self.wake)
        try:
            while True:
                await self._pass()
        finally:
            stop_hearing()

    async def read_drained(self) -> None:
        """Ask which slots are drained, and call `on_drained` when that has changed; once before rows are given."""
        drained = await self._store.drained_slots()
        if drained != self.drained:
            _log.info("slots_drained", slots=sorted(drained))
            self.drained = drained
            self._on_drained()

    async def _pass(self) -> None:
        self._wake.clear()
        try:
            await self.read_drained()
            await self.tell()
            if not self._alone:
                await self.read_others()
        except DatabaseError as error:
            _log.warning("fleet_not_recorded", error=str(error))
            await self._clock.sleep(RETRY_S)
            return
        try:
            async with asyncio.timeout(INTERVAL_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def tell(self) -> None:
        """Write what has changed since the last time; under a new name, everything. Raises `DatabaseError`."""
        async with self._telling:
            await self._tell()

    async def _tell(self) -> None:
        scheduler_id = self._scheduler_id()
        slots = {status.slot.slot_id: status for status in self._fleet.slot_statuses()}
        servers = {status.server_id: status for status in self._fleet.servers()}
        if scheduler_id != self._told_as:
            self._told_slots, self._told_servers = {}, {}
        report = FleetReport(
            slots=_news(slots, self._told_slots),
            servers=_news(servers, self._told_servers),
            slot_ids=list(slots),
            server_ids=list(servers),
        )
        is_same = slots.keys() == self._told_slots.keys() and servers.keys() == self._told_servers.keys()
        if is_same and not report.slots and not report.servers:
            return
        # If its answer is lost, all is told anew: what has come and gone meanwhile must not stay.
        self._told_as = ""
        await self._store.record(scheduler_id, report)
        self._told_as, self._told_slots, self._told_servers = scheduler_id, slots, servers

    async def read_others(self) -> None:
        """Read how the slots and servers of other schedulers are. Raises `DatabaseError`."""
        ours = {slot.slot_id for slot in self._fleet.slots()}
        servers = await self._store.servers(but_of=self._scheduler_id())
        slots = await self._store.slots()
        self.others = OtherFleets(
            slots=tuple(status for status in slots if status.slot.slot_id not in ours),
            servers=tuple(server for server in servers if server.slot.slot_id not in ours),
        )


def _news(now: Mapping[str, _StatusT], told: Mapping[str, _StatusT]) -> list[_StatusT]:
    """Return what is new or has changed. A status is as new as the question; only what it says besides is news."""
    return [
        status
        for each, status in now.items()
        if (before := told.get(each)) is None or status != replace(before, update_time=status.update_time)
    ]
