"""Deletes what has expired and drops what is stored twice, in small steps, one process at a time."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError, NotFoundError, ObjectStoreError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports import JobStore, ObjectStore
from lorax_batch_scheduler.ports.retention_store import RetentionStore
from lorax_batch_scheduler.retention.compaction import Compaction
from lorax_batch_scheduler.retention.event_expiry import EventExpiry
from lorax_batch_scheduler.retention.policy import RetentionPolicy
from lorax_batch_scheduler.retention.remains import PAUSE_S, Remains
from lorax_batch_scheduler.retention.tenant_removal import TenantRemoval

INTERVAL_S: Final = 30.0
"""How late something may be deleted after it expired, as long as there is not much of it."""
TURN: Final = timedelta(seconds=60)
"""Renewed before each batch. Void when its scheduler's lease is over; this is for one that lives and hangs."""
JOBS_AT_ONCE: Final = 20

_log = structlog.get_logger()


class Caretaker:
    """Makes a round now and then. Each step is a transaction of its own: a crash between any two loses nothing."""

    def __init__(
        self,
        store: RetentionStore,
        jobs: JobStore,
        objects: ObjectStore,
        remains: Remains,
        tenants: TenantRemoval,
        policy: RetentionPolicy,
        *,
        scheduler_id: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._remains = remains
        self._tenants = tenants
        self._compaction = Compaction(store, objects)
        self._event_expiry = EventExpiry(store, undelivered=policy.undelivered)
        self._policy = policy
        self._scheduler_id = scheduler_id
        self._clock = clock

    async def run(self) -> None:
        """Make rounds until cancelled."""
        while True:
            try:
                await self.make_round()
            except (DatabaseError, ObjectStoreError) as error:
                _log.warning("retention_delayed", error=str(error))
            await self._clock.sleep(INTERVAL_S)

    async def make_round(self) -> dict[str, int]:
        """Do all that is due, unless another process is at it; return how much of each kind that was.

        Raises `DatabaseError`, `ObjectStoreError`.
        """
        policy, done = self._policy, dict[str, int]()
        at_once = timedelta(0)
        steps: list[tuple[str, timedelta | None, Callable[[timedelta], Awaitable[tuple[int, bool]]]]] = [
            ("tenants", at_once, self._tenants.step),
            ("compacted", policy.segments, self._compact),
            ("jobs", policy.jobs, self._expire_jobs),
            ("datasets", policy.datasets, self._expire_datasets),
            ("events", policy.events, self._event_expiry.step),
            ("swept", at_once, self._sweep),
        ]
        for name, kept, step in steps:
            count = await self._repeat(step, kept) if kept is not None else 0
            if count:
                done[name] = count
        await self._store.end_turn(self._scheduler_id())
        if done:
            _log.info("retention_done", **done)
        return done

    async def _repeat(self, step: Callable[[timedelta], Awaitable[tuple[int, bool]]], kept: timedelta) -> int:
        """Take a step again and again, until it says that there is no more or the turn is another's."""
        total, more = 0, True
        while more and await self._store.take_turn(self._scheduler_id(), TURN):
            count, more = await step(kept)
            total += count
            if more:
                await self._clock.sleep(PAUSE_S)
        return total

    async def _compact(self, kept: timedelta) -> tuple[int, bool]:
        return await self._compaction.step(kept)

    async def _expire_jobs(self, kept: timedelta) -> tuple[int, bool]:
        found = await self._store.expired_jobs(kept, limit=JOBS_AT_ONCE)
        for job_id in found:
            await self._expire_job(job_id, kept)
        return len(found), len(found) == JOBS_AT_ONCE

    @failpoint(after="retention.after_job")
    async def _expire_job(self, job_id: str, kept: timedelta) -> None:
        try:
            await self._jobs.delete_job(job_id, reason=f"expired: jobs are kept for {kept} after their end")
        except NotFoundError:
            return  # a caller was faster
        _log.info("job_expired", job_id=job_id)

    @failpoint(after="retention.after_datasets")
    async def _expire_datasets(self, kept: timedelta) -> tuple[int, bool]:
        found = await self._store.expired_datasets(kept, limit=JOBS_AT_ONCE)
        deleted = 0
        for dataset_id in found:
            if await self._store.expire_dataset(dataset_id, kept):
                deleted += 1
                _log.info("dataset_expired", dataset_id=dataset_id)
        return deleted, len(found) == JOBS_AT_ONCE

    async def _sweep(self, _: timedelta) -> tuple[int, bool]:
        count = await self._remains.sweep_due(limit=JOBS_AT_ONCE)
        return count, count == JOBS_AT_ONCE
