"""What becomes of jobs whose server has room on no slot: they wait for a larger one, or fail, as the operator says."""

from collections.abc import Sequence
from typing import Final

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.ports.fleet_store import FleetStore
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.job_book import KnownJob

LOOK_EVERY_S: Final = 10.0
"""So old is what is known of the slots of other processes."""


class UnfitJobs:
    """Finds the jobs that are to fail because no slot could ever host their server."""

    def __init__(self, store: FleetStore, *, fail: bool, alone: bool, clock: Clock) -> None:
        """`fail`: else they wait. `alone`: no other process has slots."""
        self._store = store
        self._fail = fail
        self._alone = alone
        self._clock = clock
        self._looked_at: float | None = None
        self._others: tuple[Slot, ...] = ()

    async def to_fail(self, runnable: Sequence[KnownJob], fleet: Fleet) -> list[KnownJob]:
        """Return those of the jobs that wait in vain. Raises `DatabaseError`."""
        unfit = [known for known in runnable if known.unfit] if self._fail else []
        if not unfit or _may_turn_out_fit(fleet) or await self._is_room_elsewhere(fleet):
            return []
        return unfit

    async def _is_room_elsewhere(self, fleet: Fleet) -> bool:
        if self._alone:
            return False
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOK_EVERY_S:
            self._others = tuple(status.slot for status in await self._store.slots())
            self._looked_at = now
        return may_host_more(fleet.slots(), self._others)


def may_host_more(ours: Sequence[Slot], others: Sequence[Slot]) -> bool:
    """Tell whether one of the others is larger than all of ours that servers are started on, or of another kind."""
    ids = {slot.slot_id for slot in ours}
    startable = [slot for slot in ours if not slot.is_fixed]
    kinds = {slot.gpu_kind for slot in startable}
    largest = max((slot.memory_bytes for slot in startable), default=0)
    return any(
        slot.is_fixed or not slot.memory_bytes or slot.memory_bytes > largest or slot.gpu_kind not in kinds
        for slot in others
        if slot.slot_id not in ids
    )


def _may_turn_out_fit(fleet: Fleet) -> bool:
    """Tell whether a server at a fixed URL is away: which model it has when it is back, nobody knows."""
    return any(member.watch.slot.is_fixed and member.ready_at is None for member in fleet.members)
