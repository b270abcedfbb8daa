"""Deletes tenants with all that they have, in small steps: what dies in between, the next round goes on with."""

from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.errors import NotFoundError, StateConflictError
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.ports import DatasetStore, JobStore
from lorax_batch_scheduler.ports.tenant_removal_store import TenantRemovalStore

AT_ONCE: Final = 20
"""Jobs and datasets of one tenant."""
REASON: Final = "its tenant is deleted"

_log = structlog.get_logger()


class TenantRemoval:
    """Takes one small step after the other."""

    def __init__(self, store: TenantRemovalStore, jobs: JobStore, datasets: DatasetStore) -> None:
        self._store = store
        self._jobs = jobs
        self._datasets = datasets

    async def step(self, _: timedelta) -> tuple[int, bool]:
        """Delete some of what there is; return how many tenants are gone, and whether more can be done now.

        Jobs that were cancelled are not: they end first, and go in a later round. Raises `DatabaseError`.
        """
        gone, more = 0, False
        for tenant in await self._store.tenants_to_delete():
            await self._store.shut_out(tenant)
            more |= await self._delete_some(tenant)
            if await self._store.forget(tenant):
                gone += 1
                _log.info("tenant_deleted", deleted=tenant)
        return gone, more

    async def _delete_some(self, tenant: str) -> bool:
        """Return whether there may be more than that."""
        unfinished = await self._store.jobs_to_cancel(tenant, limit=AT_ONCE)
        for job_id in unfinished:
            with suppress(StateConflictError, NotFoundError):  # it has just ended
                await self._jobs.move_job(job_id, JobEvent.CANCEL, reason=REASON)
        ended = await self._store.ended_jobs(tenant, limit=AT_ONCE)
        for job_id in ended:
            with suppress(NotFoundError):  # somebody was faster
                await self._jobs.delete_job(job_id, reason=REASON)
        unused = await self._store.unused_datasets(tenant, limit=AT_ONCE)
        for dataset_id in unused:
            with suppress(StateConflictError, NotFoundError):  # an operator has just made a job of it
                await self._datasets.delete_dataset(dataset_id)
        return AT_ONCE in (len(unfinished), len(ended), len(unused))
