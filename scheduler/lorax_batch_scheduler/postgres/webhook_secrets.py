"""The secrets of webhooks in PostgreSQL, sealed."""

from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import NoSecretsKeyError
from lorax_batch_scheduler.postgres.database import Connection
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.sealing.sealer import Sealed, Sealer

NO_KEY: Final = "this service has no key to keep secrets of webhooks with: its operator must set secrets_key_file"


class WebhookSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What messages are signed with."""

    current: str
    old: str | None = None
    """Good until the webhook's `old_secret_until`."""

    def good(self, *, old_is_good: bool) -> list[str]:
        """Return those to sign with, the current one first."""
        return [self.current, self.old] if self.old is not None and old_is_good else [self.current]

    def __repr__(self) -> str:
        return "WebhookSecrets(...)"


def seal_secrets(sealer: Sealer, webhook_id: str, secrets: WebhookSecrets) -> Sealed:
    """Seal the secrets of one webhook; they open for no other. Raises `NoSecretsKeyError` without a key."""
    _remember(secrets)
    try:
        return sealer.seal(msgspec.json.encode(secrets), place=_place(webhook_id))
    except NoSecretsKeyError:
        raise NoSecretsKeyError(NO_KEY) from None


def open_secrets(sealer: Sealer, record: asyncpg.Record) -> WebhookSecrets:
    """Return the secrets of a row. Raises `SecretUnreadableError`."""
    sealed = Sealed(key_id=record["key_id"], blob=record["sealed"])
    plain = sealer.open(sealed, place=_place(record["webhook_id"]))
    secrets = msgspec.json.decode(plain, type=WebhookSecrets)
    _remember(secrets)
    return secrets


async def store_sealed(connection: Connection, sealed: dict[str, Sealed]) -> None:
    """Store secrets that were sealed with another key, by webhook."""
    columns: Sequence[list[object]] = ([one.key_id for one in sealed.values()], [one.blob for one in sealed.values()])
    await connection.execute(SQL.seal_webhooks, list(sealed), *columns)


def _place(webhook_id: str) -> str:
    return f"webhooks/{webhook_id}"


def _remember(secrets: WebhookSecrets) -> None:
    for secret in (secrets.current, secrets.old):
        if secret is not None:
            REDACTOR.remember(secret)
