"""Tenants and keys in PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import AlreadyExistsError, NotFoundError, StateConflictError
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.page_token import decode_page_token, encode_page_token
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.tenant import AccessTable, ApiKey, NewKey, Quotas, Tenant, TenantUsage


class PostgresAccessStore:
    """See `AccessStore`."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener

    # --- tenants ---

    async def create_tenant(self, tenant: str, quotas: Quotas, share_weight: float) -> Tenant:
        async with self._database.transaction() as connection:
            created = await connection.fetchval(
                SQL.create_tenant, tenant, *msgspec.structs.astuple(quotas), share_weight
            )
            if created is None:
                raise AlreadyExistsError("tenant", tenant, "update it, or choose another name")
            return await _changed_tenant(connection, tenant)

    async def get_tenant(self, tenant: str) -> Tenant:
        async with self._database.connection() as connection:
            return await _tenant(connection, tenant)

    async def list_tenants(self, *, page_size: int, page_token: str) -> Page[Tenant]:
        before = decode_page_token(page_token)
        async with self._database.connection() as connection:
            found = await connection.fetch(SQL.list_tenants, before, page_size + 1)
            tenants = await _with_usage(connection, found[:page_size])
        token = encode_page_token(found[page_size - 1]["tenant_no"]) if len(found) > page_size else ""
        return Page(items=tenants, next_token=token)

    async def update_tenant(
        self,
        tenant: str,
        *,
        quotas: Mapping[str, float | None],
        share_weight: float | None,
        disabled: bool | None = None,
    ) -> Tenant:
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL.update_tenant, tenant, dict(quotas), share_weight, disabled) is None:
                raise NotFoundError("tenant", tenant)
            changed = await _changed_tenant(connection, tenant)
            if disabled is False and changed.delete_time is not None:
                way_out = "make it anew once it is gone (`tenants list`)"
                raise StateConflictError("tenant", tenant, "being deleted", "merely disabled", way_out)
        return changed

    async def delete_tenant(self, tenant: str) -> Tenant:
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL.begin_tenant_deletion, tenant) is None:
                raise NotFoundError("tenant", tenant)
            return await _changed_tenant(connection, tenant)

    # --- keys ---

    async def create_key(self, new: NewKey) -> ApiKey:
        async with self._database.transaction() as connection:
            record = await _insert(connection, new)
        assert record is not None, "secrets are random"
        return _key(record)

    async def ensure_key(self, new: NewKey) -> ApiKey:
        async with self._database.transaction() as connection:
            record = await _insert(connection, new)
            if record is None:
                record = await connection.fetchrow(SQL.key_by_secret, new.secret_sha256)
        assert record is not None, "keys are never deleted"
        return _key(record)

    async def list_keys(self, tenant: str | None, *, page_size: int, page_token: str) -> Page[ApiKey]:
        before = decode_page_token(page_token)
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.list_keys, before, page_size + 1, tenant)
        token = encode_page_token(records[page_size - 1]["key_no"]) if len(records) > page_size else ""
        return Page(items=[_key(record) for record in records[:page_size]], next_token=token)

    async def revoke_key(self, key_id: str) -> ApiKey:
        async with self._database.transaction() as connection:
            record = await connection.fetchrow(SQL.revoke_key, key_id)
            if record is None:
                raise NotFoundError("key", key_id)
            await connection.execute(SQL.access_changed)
        return _key(record)

    # --- what every process has in memory ---

    async def access_version(self) -> int:
        async with self._database.connection() as connection:
            version: int = await connection.fetchval(SQL.access_version)
        return version

    async def access_table(self) -> AccessTable:
        async with self._database.connection() as connection, connection.transaction(isolation="repeatable_read"):
            version = await connection.fetchval(SQL.access_version)
            keys = await connection.fetch(SQL.access_keys)
            rates = await connection.fetch(SQL.request_rates)
            disabled = await connection.fetch(SQL.disabled_tenants)
        return AccessTable(
            version=version,
            keys={record["secret_sha256"]: _key(record) for record in keys},
            request_rates={record["tenant"]: record["requests_per_second"] for record in rates},
            disabled=frozenset(record["tenant"] for record in disabled),
        )

    def on_change(self, hear: Callable[[], None]) -> Callable[[], None]:
        return self._listener.on_access(hear)


async def _insert(connection: Connection, new: NewKey) -> asyncpg.Record | None:
    if not await connection.fetch(SQL.tenants, [new.tenant]):
        raise NotFoundError("tenant", new.tenant)
    record = await connection.fetchrow(
        SQL.create_key, new.key_id, new.tenant, new.role, new.name, new.secret_sha256, new.expire_time
    )
    if record is not None:
        await connection.execute(SQL.access_changed)
    return record


def _key(record: asyncpg.Record) -> ApiKey:
    return msgspec.convert(dict(record), ApiKey)


async def _changed_tenant(connection: Connection, tenant: str) -> Tenant:
    await connection.execute(SQL.access_changed)
    return await _tenant(connection, tenant)


async def _tenant(connection: Connection, tenant: str) -> Tenant:
    found = await _with_usage(connection, await connection.fetch(SQL.tenants, [tenant]))
    if not found:
        raise NotFoundError("tenant", tenant)
    return found[0]


async def _with_usage(connection: Connection, records: Sequence[asyncpg.Record]) -> list[Tenant]:
    names = [record["tenant"] for record in records]
    usage: dict[str, dict[str, int]] = {name: {} for name in names}
    for query in (SQL.queued_work, SQL.stored_bytes):
        for record in await connection.fetch(query, names):
            usage[record["tenant"]] |= dict(record)
    return [
        Tenant(
            tenant=record["tenant"],
            quotas=msgspec.convert(dict(record), Quotas),
            share_weight=record["share_weight"],
            usage=msgspec.convert(usage[record["tenant"]], TenantUsage),
            create_time=record["create_time"],
            update_time=record["update_time"],
            disable_time=record["disable_time"],
            delete_time=record["delete_time"],
        )
        for record in records
    ]
