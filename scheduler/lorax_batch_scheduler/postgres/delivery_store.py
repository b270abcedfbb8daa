"""What a process that delivers webhooks needs of PostgreSQL."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import asyncpg
import msgspec
import structlog

from lorax_batch_scheduler.errors import SecretUnreadableError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import StateChange
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.postgres.webhook_secrets import open_secrets
from lorax_batch_scheduler.sealing.sealer import Sealer
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookSample
from lorax_batch_scheduler.webhooks.round import Fresh, RoundResult
from lorax_batch_scheduler.webhooks.webhook import ClaimedWebhook, Message

KEPT_MESSAGES: Final = 200
"""Of one webhook's messages that do not wait any more: its log."""

_log = structlog.get_logger()


class PostgresDeliveryStore:
    """See `DeliveryStore`."""

    def __init__(
        self, database: Database, listener: Listener, sealer: Sealer, *, kept_messages: int = KEPT_MESSAGES
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._listener = listener
        self._kept_messages = kept_messages

    async def any_webhook(self) -> bool:
        async with self._database.connection() as connection:
            found: bool = await connection.fetchval(SQL.any_webhook)
        return found

    async def claim(self, holder: str, lease: timedelta, *, limit: int) -> list[ClaimedWebhook]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.claim_webhooks, holder, lease, limit)
        return [claimed for record in records if (claimed := self._opened(record)) is not None]

    def _opened(self, record: asyncpg.Record) -> ClaimedWebhook | None:
        """Return a webhook with its secrets; None: they can't be read, and its lease runs out before the next try."""
        try:
            secrets = open_secrets(self._sealer, record)
        except SecretUnreadableError as error:
            _log.error("webhook_unreadable", webhook=record["webhook_id"], error=str(error))
            return None
        return msgspec.convert({**record, "secrets": secrets.good(old_is_good=record["old_is_good"])}, ClaimedWebhook)

    async def waiting(self, webhook: ClaimedWebhook) -> list[Message]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.waiting_messages, webhook.webhook_id)
        return [msgspec.convert(dict(record), Message) for record in records]

    async def fresh(self, webhook: ClaimedWebhook, *, limit: int) -> Fresh:
        async with self._database.connection() as connection:
            # Sequences are dense and become visible in order: up to the latest one, nothing can come in between.
            latest = await connection.fetchval(SQL.latest_sequence)
            records = await connection.fetch(
                SQL.webhook_events, webhook.cursor, latest, webhook.tenant, webhook.event_types, limit
            )
        messages = [msgspec.convert(dict(record), Message) for record in records]
        return Fresh(messages=messages, upto=messages[-1].sequence if len(messages) == limit else latest)

    async def changes(self, sequences: Sequence[int]) -> dict[int, StateChange]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.state_changes_at, list(sequences))
        return {record["sequence"]: msgspec.convert(dict(record), StateChange) for record in records}

    @failpoint(before="webhook.before_save", after="webhook.after_save")
    async def save(self, holder: str, webhook: ClaimedWebhook, result: RoundResult) -> bool:
        async with self._database.transaction() as connection:
            saved = await connection.fetchval(
                SQL.save_round,
                webhook.webhook_id,
                holder,
                result.cursor,
                result.failures,
                result.failing_since,
                result.not_before,
                result.disabled,
                webhook.url,
                result.reason,
            )
            if saved is None:
                return False
            if result.messages:
                await connection.execute(SQL.save_messages, webhook.webhook_id, *_columns(result.messages))
                await connection.execute(SQL.prune_messages, webhook.webhook_id, self._kept_messages)
            if result.hasten:
                await connection.execute(SQL.hasten_messages, webhook.webhook_id)
        return True

    async def renew(self, holder: str, webhook_id: str, lease: timedelta) -> bool:
        async with self._database.connection() as connection:
            return await connection.fetchval(SQL.renew_webhook, holder, webhook_id, lease) is not None

    async def release_all(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.release_all_webhooks)

    async def release(self, holder: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.release_webhooks, holder)

    async def sample(self) -> WebhookSample:
        async with self._database.connection() as connection:
            states = await connection.fetch(SQL.webhook_states)
            behind = await connection.fetch(SQL.webhook_backlogs)
        return WebhookSample(
            by_state={record["state"]: record["webhooks"] for record in states},
            oldest_s=max((record["age"].total_seconds() for record in behind), default=0.0),
        )

    def on_webhooks(self, hear: Callable[[], None]) -> Callable[[], None]:
        return self._listener.on_webhooks(lambda _: hear())

    def on_events(self, hear: Callable[[], None]) -> Callable[[], None]:
        return self._listener.on_jobs(lambda _: hear())


def _columns(messages: Sequence[Message]) -> list[list[object]]:
    rows = [
        (
            each.sequence,
            each.job_id,
            each.event_type,
            each.state,
            each.attempts,
            each.due,
            each.first_try,
            each.last_try,
            each.status,
            each.latency,
            each.error,
        )
        for each in messages
    ]
    return [list(column) for column in zip(*rows, strict=True)]
