"""Tenants that are being deleted, in PostgreSQL."""

from typing import Any

from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresTenantRemovalStore:
    """See `TenantRemovalStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenants_to_delete(self) -> list[str]:
        return await self._names(SQL.tenants_to_delete)

    async def shut_out(self, tenant: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(SQL.delete_webhooks_of_tenant, tenant)
            if await connection.fetch(SQL.delete_keys_of_tenant, tenant):
                await connection.execute(SQL.access_changed)

    async def jobs_to_cancel(self, tenant: str, *, limit: int) -> list[str]:
        return await self._names(SQL.jobs_to_cancel_of_tenant, tenant, limit)

    async def ended_jobs(self, tenant: str, *, limit: int) -> list[str]:
        return await self._names(SQL.ended_jobs_of_tenant, tenant, limit)

    async def unused_datasets(self, tenant: str, *, limit: int) -> list[str]:
        return await self._names(SQL.unused_datasets_of_tenant, tenant, limit)

    async def forget(self, tenant: str) -> bool:
        async with self._database.transaction() as connection:
            await connection.execute(SQL.lock_tenant, tenant)
            # Asked behind the lock: nothing of it can be made any more.
            if await connection.fetchval(SQL.forget_tenant, tenant) is None:
                return False
            await connection.execute(SQL.disown_events, tenant)
        return True

    async def _names(self, statement: str, *arguments: Any) -> list[str]:  # noqa: ANN401 - as the statement takes them
        async with self._database.connection() as connection:
            return [record[0] for record in await connection.fetch(statement, *arguments)]
