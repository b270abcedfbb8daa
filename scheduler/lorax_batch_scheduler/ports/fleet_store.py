"""What all schedulers say of their slots and servers, and what operators say of slots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lorax_batch_scheduler.fleet import FleetState, ServerStatus, SlotStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """What a scheduler has to say of its fleet."""

    slots: Sequence[SlotStatus] = ()
    """Those that are new or have changed."""
    servers: Sequence[ServerStatus] = ()
    slot_ids: Sequence[str] = ()
    """All that it has; what was recorded before and is not among them is forgotten."""
    server_ids: Sequence[str] = ()


class FleetStore(Protocol):
    """Slots and servers as their schedulers last recorded them; they are forgotten with their scheduler's lease.

    A slot or server that several schedulers use is there once, as the one sees it that gets on with it best.
    """

    async def record(self, scheduler_id: str, report: FleetReport) -> None:
        """Record how a scheduler's fleet is; nothing happens once it was declared dead."""
        ...

    async def servers(self, *, but_of: str = "") -> list[ServerStatus]:
        """Return the servers of all living schedulers (`but_of`: of all others), by id."""
        ...

    async def slots(self, slot_id: str | None = None) -> list[SlotStatus]:
        """Return the slots of all living schedulers, and drained ones that none of them has, by id; or only one."""
        ...

    async def state(self) -> FleetState:
        """Return everything as it is at one moment."""
        ...

    async def drain_slot(self, slot_id: str, reason: str) -> SlotStatus:
        """Take a slot out of service; of one that is already, change the reason unless it is "".

        Raises:
            NotFoundError: no scheduler has such a slot.
        """
        ...

    async def undrain_slot(self, slot_id: str) -> SlotStatus:
        """Put a slot back into service; one that is in service stays so.

        Raises:
            NotFoundError: no scheduler has such a slot, and it was not drained.
        """
        ...

    async def drained_slots(self) -> dict[str, str]:
        """Return the reasons of all drained slots, by slot id."""
        ...

    def on_change(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear` when anything of the fleet may have changed but the queues; return what ends that."""
        ...

    def on_drained(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear` when a slot may have been drained or undrained; return what ends that."""
        ...
