"""Tenants that are being deleted."""

from typing import Protocol


class TenantRemovalStore(Protocol):
    """What they still have. Raises `DatabaseError` when out of reach; a call is one transaction."""

    async def tenants_to_delete(self) -> list[str]: ...

    async def shut_out(self, tenant: str) -> None:
        """Delete its keys and webhooks."""
        ...

    async def jobs_to_cancel(self, tenant: str, *, limit: int) -> list[str]:
        """Return jobs that have not ended, and are not ending."""
        ...

    async def ended_jobs(self, tenant: str, *, limit: int) -> list[str]: ...

    async def unused_datasets(self, tenant: str, *, limit: int) -> list[str]:
        """Return datasets that no unfinished job needs."""
        ...

    async def forget(self, tenant: str) -> bool:
        """Delete the tenant itself; False: it has something left."""
        ...
