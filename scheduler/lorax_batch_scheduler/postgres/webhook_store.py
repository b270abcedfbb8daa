"""Webhooks as their owners see them, in PostgreSQL."""

from datetime import timedelta
from typing import Final

import msgspec

from lorax_batch_scheduler.errors import NotFoundError, StateConflictError
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.page_token import decode_page_token, encode_page_token
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.postgres.webhook_secrets import WebhookSecrets, open_secrets, seal_secrets
from lorax_batch_scheduler.sealing.sealer import Sealer
from lorax_batch_scheduler.webhooks.webhook import (
    Message,
    NewWebhook,
    TooManyWebhooksError,
    Webhook,
    WebhookState,
    parse_message_id,
)

MAX_WEBHOOKS: Final = 16
"""Of one tenant."""


class PostgresWebhookStore:
    """See `WebhookStore`."""

    def __init__(self, database: Database, sealer: Sealer, *, max_webhooks: int = MAX_WEBHOOKS) -> None:
        self._database = database
        self._sealer = sealer
        self._max_webhooks = max_webhooks

    async def create_webhook(self, new: NewWebhook) -> Webhook:
        sealed = seal_secrets(self._sealer, new.webhook_id, WebhookSecrets(current=new.secret))
        async with self._database.transaction() as connection:
            await connection.execute(SQL.lock_webhooks_of_tenant, new.tenant)
            created = await connection.fetchval(
                SQL.create_webhook,
                new.webhook_id,
                new.tenant,
                new.url,
                new.event_types,
                new.description,
                sealed.key_id,
                sealed.blob,
                self._max_webhooks,
            )
            if created is None:
                raise TooManyWebhooksError(self._max_webhooks)
            return await _changed(connection, new.webhook_id, new.tenant)

    async def get_webhook(self, webhook_id: str, tenant: str | None) -> Webhook:
        async with self._database.connection() as connection:
            return await _get(connection, webhook_id, tenant)

    async def list_webhooks(self, tenant: str | None, *, page_size: int, page_token: str) -> Page[Webhook]:
        before = decode_page_token(page_token)
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.list_webhooks, tenant, before, page_size + 1)
        items = [msgspec.convert(dict(record), Webhook) for record in records[:page_size]]
        return Page(items=items, next_token=encode_page_token(items[-1].webhook_no) if len(records) > page_size else "")

    async def update_webhook(
        self,
        webhook_id: str,
        tenant: str | None,
        *,
        url: str | None = None,
        event_types: list[str] | None = None,
        description: str | None = None,
        state: WebhookState | None = None,
    ) -> Webhook:
        async with self._database.transaction() as connection:
            found = await connection.fetchval(
                SQL.update_webhook, webhook_id, tenant, url, event_types, description, state
            )
            if found is None:
                raise NotFoundError("webhook", webhook_id)
            if url is not None or state is WebhookState.ACTIVE:
                await connection.execute(SQL.begin_messages_anew, webhook_id)
            return await _changed(connection, webhook_id, tenant)

    async def rotate_secret(
        self, webhook_id: str, tenant: str | None, secret: str, *, keep_old_for: timedelta | None
    ) -> Webhook:
        async with self._database.transaction() as connection:
            record = await connection.fetchrow(SQL.lock_webhook_secrets, webhook_id, tenant)
            if record is None:
                raise NotFoundError("webhook", webhook_id)
            old = open_secrets(self._sealer, record).current if keep_old_for is not None else None
            sealed = seal_secrets(self._sealer, webhook_id, WebhookSecrets(current=secret, old=old))
            await connection.execute(SQL.rotate_webhook_secret, webhook_id, sealed.key_id, sealed.blob, keep_old_for)
            return await _get(connection, webhook_id, tenant)

    async def delete_webhook(self, webhook_id: str, tenant: str | None) -> None:
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL.delete_webhook, webhook_id, tenant) is None:
                raise NotFoundError("webhook", webhook_id)
            await connection.execute(SQL.notify_webhooks, webhook_id)

    async def list_messages(
        self, webhook_id: str, tenant: str | None, *, page_size: int, page_token: str
    ) -> Page[Message]:
        before = decode_page_token(page_token)
        async with self._database.connection() as connection:
            await _get(connection, webhook_id, tenant)
            records = await connection.fetch(SQL.list_messages, webhook_id, before, page_size + 1)
        items = [msgspec.convert(dict(record), Message) for record in records[:page_size]]
        return Page(items=items, next_token=encode_page_token(items[-1].sequence) if len(records) > page_size else "")

    async def redeliver(self, webhook_id: str, tenant: str | None, message_id: str) -> Message:
        parsed = parse_message_id(message_id)
        async with self._database.transaction() as connection:
            webhook = await _get(connection, webhook_id, tenant)
            if webhook.state is WebhookState.DISABLED:
                way_out = "make it active first (`lorax-batch webhooks update --enable`)"
                raise StateConflictError("webhook", webhook_id, "DISABLED", "ACTIVE", way_out)
            record = None
            if parsed is not None:
                job_id, sequence = parsed
                record = await connection.fetchrow(SQL.redeliver_message, webhook_id, sequence, job_id)
            if record is None:
                raise NotFoundError(
                    "message", message_id, f"webhook '{webhook_id}' has not told it yet, or its event is gone"
                )
            await connection.execute(SQL.notify_webhooks, webhook_id)
        return msgspec.convert(dict(record), Message)

    async def secrets_of(self, webhook_id: str, tenant: str | None) -> list[str]:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.webhook_secrets, webhook_id, tenant)
        if record is None:
            raise NotFoundError("webhook", webhook_id)
        return open_secrets(self._sealer, record).good(old_is_good=record["old_is_good"])


async def _get(connection: Connection, webhook_id: str, tenant: str | None) -> Webhook:
    record = await connection.fetchrow(SQL.get_webhook, webhook_id, tenant)
    if record is None:
        raise NotFoundError("webhook", webhook_id)
    return msgspec.convert(dict(record), Webhook)


async def _changed(connection: Connection, webhook_id: str, tenant: str | None) -> Webhook:
    """Wake whoever delivers, and return the webhook as it is now."""
    await connection.execute(SQL.notify_webhooks, webhook_id)
    return await _get(connection, webhook_id, tenant)
