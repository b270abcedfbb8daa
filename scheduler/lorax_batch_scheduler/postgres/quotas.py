"""What tenants may use of the database's things, checked in the transaction that would use it."""

import asyncpg

from lorax_batch_scheduler.errors import QuotaExceededError
from lorax_batch_scheduler.postgres.database import Connection
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.tenant import Storage

_END_JOBS = "wait until jobs have ended, or cancel some"


async def hold_quotas(connection: Connection, tenant: str) -> asyncpg.Record | None:
    """Hold a tenant's quotas until the end of the transaction; None, and nothing held, when it has none."""
    return await connection.fetchrow(SQL.hold_quotas, tenant)


async def check_job(connection: Connection, quotas: asyncpg.Record | None, tenant: str, job_id: str) -> None:
    """Raise `QuotaExceededError` when the job that was just stored is too much for its tenant."""
    if quotas is None:
        return
    queued = await connection.fetchrow(SQL.queued_work, [tenant])
    assert queued is not None, "the job itself is there"
    tokens = await connection.fetchval(SQL.job_tokens, job_id)
    for quota, asked in (("queued_jobs", 1), ("queued_tokens", tokens)):
        _check(tenant, quota, quotas[quota], queued[quota] - asked, asked)
    # Its results will come on top of what is stored: none may begin when nothing is left.
    (await _storage(connection, tenant, quotas["stored_bytes"])).check(1)


async def read_storage(connection: Connection, tenant: str) -> Storage:
    """Return what a tenant has stored, counted only where there is a limit."""
    return await _storage(connection, tenant, await connection.fetchval(SQL.stored_bytes_quota, tenant))


async def _storage(connection: Connection, tenant: str, limit: int | None) -> Storage:
    if limit is None:
        return Storage(tenant=tenant)
    stored = await connection.fetchrow(SQL.stored_bytes, [tenant])
    return Storage(tenant=tenant, limit=limit, used=stored["stored_bytes"] if stored else 0)


def _check(tenant: str, quota: str, limit: int | None, used: int, asked: int) -> None:
    if limit is not None and used + asked > limit:
        raise QuotaExceededError(tenant, quota, limit=limit, used=used, asked=asked, way_out=_END_JOBS)
