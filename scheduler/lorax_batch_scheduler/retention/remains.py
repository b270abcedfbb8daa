"""Deletes the rows that deleted jobs have left behind, a few at a time.

Deleting a job notes this in the same transaction, so that no crash leaves rows that nobody knows of; see `Removals`,
which does the same for objects.
"""

from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports.retention_store import JobRemains, RemainsStore

ROWS_AT_ONCE: Final = 100
"""Segments; they are up to some 100 KB each."""
PAUSE_S: Final = 0.1
"""Between two batches: deleting must not be what the database is busy with."""
LATE_WATCHES: Final = timedelta(hours=1)
"""For so long after its deletion the state changes of a job can still be told to a watch that goes on from before."""

_log = structlog.get_logger()


class Remains:
    """Sweeps. Any number of processes may do so at once."""

    def __init__(self, store: RemainsStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of(self, job_id: str) -> None:
        """Sweep the rows of a job that was deleted just now, all but its events; what fails is left to `sweep_due`."""
        try:
            remains = await self._store.remains_of(job_id)
            if remains is not None and not remains.rows_gone:
                await self._sweep(remains)
        except DatabaseError as error:
            _log.warning("sweep_delayed", job_id=job_id, error=str(error))

    async def sweep_due(self, *, limit: int) -> int:
        """Sweep what is due; return how many jobs that was. Raises `DatabaseError`."""
        due = await self._store.due_remains(limit=limit)
        for remains in due:
            await self._sweep(remains)
        return len(due)

    async def _sweep(self, remains: JobRemains) -> None:
        job_id = remains.job_id
        if remains.rows_gone:
            while await self._store.sweep_events(job_id, limit=10 * ROWS_AT_ONCE) == 10 * ROWS_AT_ONCE:
                await self._clock.sleep(PAUSE_S)
            await self._store.forget_remains(job_id)
            return
        # The next batch is small only when there is none after it.
        while await self._sweep_rows(job_id) >= ROWS_AT_ONCE:
            await self._clock.sleep(PAUSE_S)
        await self._store.put_off_remains(job_id, events_in=LATE_WATCHES)

    @failpoint(after="sweep.after_rows")
    async def _sweep_rows(self, job_id: str) -> int:
        return await self._store.sweep_rows(job_id, limit=ROWS_AT_ONCE)
