"""Runs the finaliser for every job that is to end, a few at a time, again after what may pass."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import (
    DatabaseError,
    NotFoundError,
    ObjectNotFoundError,
    ObjectStoreError,
    StateConflictError,
)
from lorax_batch_scheduler.scheduling.committer import Committer
from lorax_batch_scheduler.scheduling.finaliser import Finaliser
from lorax_batch_scheduler.scheduling.job_book import KnownJob
from lorax_batch_scheduler.scheduling.job_traces import JobTraces

AT_ONCE: Final = 2
IN_FLIGHT_GRACE_S: Final = 10.0
"""How long the rows in flight of a cancelled or expired job may take to end."""
RETRY_S: Final = 2.0
DAMAGED_RETRY_S: Final = 60.0

_log = structlog.get_logger()


class JobEnding:
    """Ends settling jobs."""

    def __init__(
        self,
        *,
        finaliser: Finaliser,
        committer: Committer,
        scheduler_id: Callable[[], str],
        clock: Clock,
        traces: JobTraces,
        on_change: Callable[[str], None],
    ) -> None:
        self._finaliser = finaliser
        self._committer = committer
        self._scheduler_id = scheduler_id
        self._clock = clock
        self._traces = traces
        self._on_change = on_change
        self._queue: asyncio.Queue[KnownJob] = asyncio.Queue()
        self._busy: set[str] = set()
        self._not_before: dict[str, float] = {}
        """When to try jobs again that could not be ended; a worker that waited for one would hold up the others."""

    def start(self, settling: Sequence[KnownJob]) -> None:
        """End these jobs, unless that is under way or was tried just now."""
        now = self._clock.monotonic()
        self._not_before = {job_id: due for job_id, due in self._not_before.items() if due > now}
        for known in settling:
            if known.job.job_id not in self._busy and known.job.job_id not in self._not_before:
                self._busy.add(known.job.job_id)
                self._queue.put_nowait(known)

    async def run(self) -> None:
        """End jobs until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            known = await self._queue.get()
            job_id = known.job.job_id
            try:
                retry_s = await self._try(known)
                self._not_before[job_id] = self._clock.monotonic() + retry_s
            finally:
                self._busy.discard(job_id)
                self._on_change(job_id)

    async def _try(self, known: KnownJob) -> float:
        """End a job; return after how many seconds to try again if it has not ended then."""
        job_id = known.job.job_id
        try:
            return await self._end(known)
        except (DatabaseError, ObjectStoreError) as error:
            _log.warning("finalising_delayed", job_id=job_id, error=str(error))
            return RETRY_S
        except ObjectNotFoundError as error:
            _log.error("finalising_impossible", job_id=job_id, error=str(error), retry_s=DAMAGED_RETRY_S)
            return DAMAGED_RETRY_S
        except (StateConflictError, NotFoundError) as error:
            _log.info("finalised_elsewhere", job_id=job_id, error=str(error))
            return 0.0
        except Exception:
            # Whatever is wrong with this job, the others go on.
            _log.exception("finalising_failed", job_id=job_id, retry_s=DAMAGED_RETRY_S)
            return DAMAGED_RETRY_S

    async def _end(self, known: KnownJob) -> float:
        try:
            async with asyncio.timeout(IN_FLIGHT_GRACE_S):
                await known.nothing_out.wait()
        except TimeoutError:
            _log.warning("rows_left_behind", job_id=known.job.job_id, chunks=len(known.works))
        began = self._clock.now()
        await self._committer.flush()
        job = await self._finaliser.finalise(known.job, self._scheduler_id())
        if job is None:
            return RETRY_S
        _log.info("job_ended", job_id=job.job_id, state=job.state, rows=job.counts.total, failed=job.counts.failed)
        await self._traces.ended(job, began)
        return 0.0
