"""Deletes the objects of what was given up: of deleted jobs and datasets, of uploads and attempts that are over.

What gives objects up writes so in the same transaction, and this carries it out: at once, and again later. No step of
it can be lost in a crash. It needs no look at what is old or unnamed, and it can't delete what somebody else is about
to name, on whatever host: ids are never used twice, and the transaction that planned the removal is the one after which
no statement names an object of that prefix any more.
"""

from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError, ObjectStoreError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.object_names import dataset_prefix, results_prefix, uploads_prefix
from lorax_batch_scheduler.ports import ObjectStore, Removal, RemovalStore

POLL_INTERVAL_S: Final = 5.0
LATE_WRITES: Final = timedelta(hours=1)
"""A removal is carried out once more after this time: a write that was on its way at the first time has arrived."""
AT_ONCE: Final = 100

_log = structlog.get_logger()


class Removals:
    """Carries planned removals out. Any number of processes may do so at once: deleting twice harms nobody."""

    def __init__(self, store: RemovalStore, objects: ObjectStore, *, clock: Clock) -> None:
        self._store = store
        self._objects = objects
        self._clock = clock

    async def run(self) -> None:
        """Carry out what is due, until cancelled."""
        while True:
            if await self.carry_out_due() < AT_ONCE:
                await self._clock.sleep(POLL_INTERVAL_S)

    async def carry_out_due(self) -> int:
        """Carry out what is due now; return how much that was. What fails is tried again later."""
        try:
            due = await self._store.due_removals(limit=AT_ONCE)
            await self._carry_out(due)
        except (DatabaseError, ObjectStoreError) as error:
            _log.warning("removal_delayed", error=str(error))
            return 0
        return len(due)

    async def of(self, owner_id: str) -> None:
        """Carry out now what was planned for a job or a dataset; what fails is left to `run`."""
        prefixes = [name(owner_id) for name in (uploads_prefix, dataset_prefix, results_prefix)]
        try:
            await self._carry_out(await self._store.removals_of(prefixes))
        except (DatabaseError, ObjectStoreError) as error:
            _log.warning("removal_delayed", owner=owner_id, error=str(error))

    async def _carry_out(self, removals: list[Removal]) -> None:
        for removal in removals:
            await self._delete(removal)
            await self._store.removed(removal, again_in=None if removal.runs else LATE_WRITES)

    @failpoint(before="removal.before_delete", after="removal.after_delete")
    async def _delete(self, removal: Removal) -> None:
        count = await self._objects.delete_prefix(removal.prefix, keep=removal.keep)
        if count:
            _log.info("objects_removed", prefix=removal.prefix, count=count)
