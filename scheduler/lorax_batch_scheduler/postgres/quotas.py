"""What tenants may use of the database's things, checked in the transaction that would use it."""

import asyncpg

from lorax_batch_scheduler.errors import QuotaExceededError
from lorax_batch_scheduler.postgres.database import Connection
from lorax_batch_scheduler.postgres.statements import SQL

_END_JOBS = "wait until jobs have ended, or cancel some"
_DELETE = "delete datasets or ended jobs"


async def hold_quotas(connection: Connection, tenant: str) -> asyncpg.Record | None:
    """Hold a tenant's quotas until the end of the transaction; None, and nothing held, when it has none."""
    return await connection.fetchrow(SQL.hold_quotas, tenant)


async def check_job(connection: Connection, quotas: asyncpg.Record | None, tenant: str, job_id: str) -> None:
    """Raise `QuotaExceededError` when the job that was just stored is too much for its tenant."""
    if quotas is None:
        return
    usage = await connection.fetchrow(SQL.tenant_usage, [tenant])
    assert usage is not None
    tokens = await connection.fetchval(SQL.job_tokens, job_id)
    for quota, asked in (("queued_jobs", 1), ("queued_tokens", tokens)):
        _check(tenant, quota, quotas[quota], usage[quota] - asked, asked, _END_JOBS)
    # Its results will come on top of what is stored: none may begin when nothing is left.
    _check(tenant, "stored_bytes", quotas["stored_bytes"], usage["stored_bytes"], 1, _DELETE)


async def check_stored_bytes(connection: Connection, tenant: str, asked: int) -> None:
    """Raise `QuotaExceededError` when a tenant may not store so many bytes more."""
    limit = await connection.fetchval(SQL.stored_bytes_quota, tenant)
    if limit is not None:
        usage = await connection.fetchrow(SQL.tenant_usage, [tenant])
        assert usage is not None
        _check(tenant, "stored_bytes", limit, usage["stored_bytes"], asked, _DELETE)


def _check(tenant: str, quota: str, limit: int | None, used: int, asked: int, way_out: str) -> None:
    if limit is not None and used + asked > limit:
        raise QuotaExceededError(tenant, quota, limit=limit, used=used, asked=asked, way_out=way_out)
