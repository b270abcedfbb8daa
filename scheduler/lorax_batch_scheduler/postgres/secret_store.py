"""The tokens of jobs in PostgreSQL, sealed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec
import structlog

from lorax_batch_scheduler.errors import NoSecretsKeyError, SecretUnreadableError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job_secrets import JobSecrets
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.postgres.webhook_secrets import open_secrets, seal_secrets, store_sealed
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.sealing.sealer import Sealed, Sealer

BATCH: Final = 500
"""Rows that one transaction seals anew; jobs that are created or deleted meanwhile do not wait for more."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What was done to seal everything with the current key."""

    sealed: int
    unreadable: int
    """Of keys that are not there, or damaged: left as they are."""


class PostgresSecretStore:
    """Stores the tokens of jobs, and seals them anew."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def add(self, connection: Connection, job_id: str, secrets: JobSecrets) -> None:
        """Store the tokens of a new job in its transaction. Raises `NoSecretsKeyError` without a key."""
        if not secrets:
            return
        _remember(secrets)
        sealed = self._sealer.seal(msgspec.json.encode(secrets), place=_place(job_id))
        await connection.execute(SQL.store_secret, job_id, sealed.key_id, sealed.blob)

    async def get(self, connection: Connection, job_id: str) -> JobSecrets:
        """Return the tokens of a job. Raises `SecretUnreadableError`."""
        record = await connection.fetchrow(SQL.job_secret, job_id)
        if record is None:
            return JobSecrets()
        secrets = self._open(record)
        _remember(secrets)
        return secrets

    async def copy(self, connection: Connection, job_id: str, new_job_id: str) -> None:
        """Give a retry the tokens of the job that it repeats, sealed for it."""
        await self.add(connection, new_job_id, await self.get(connection, job_id))

    async def counts(self) -> Mapping[str, int]:
        """Return how many jobs' tokens each key has sealed; those of "" are not sealed at all."""
        async with self._database.connection() as connection:
            return {record["key_id"]: record["jobs"] for record in await connection.fetch(SQL.count_secrets)}

    async def seal_anew(self, *, only_plain: bool = False, batch: int = BATCH) -> Rotation:
        """Seal with the current key what is not sealed with it; what was done stays, whenever this is ended.

        Raises:
            NoSecretsKeyError: there is no key.
        """
        key_id = self._sealer.current_key_id
        if key_id is None:
            raise NoSecretsKeyError
        after, sealed, unreadable = "", 0, 0
        while True:
            async with self._database.connection() as connection:
                found = await connection.fetch(SQL.secrets_to_seal, key_id, after, batch, only_plain)
            if not found:
                break
            job_ids = [record["job_id"] for record in found]
            after = job_ids[-1]
            done, failed = await self._seal_batch(key_id, job_ids)
            sealed, unreadable = sealed + done, unreadable + failed
        # Those of webhooks were never plain.
        done, failed = (0, 0) if only_plain else await self._seal_webhooks(key_id, batch)
        return Rotation(sealed=sealed + done, unreadable=unreadable + failed)

    async def _seal_webhooks(self, key_id: str, batch: int) -> tuple[int, int]:
        """Seal the secrets of webhooks anew, a batch in a transaction; return as for jobs."""
        after, done, failed = "", 0, 0
        while True:
            new: dict[str, Sealed] = {}
            async with self._database.transaction() as connection:
                found = await connection.fetch(SQL.webhooks_to_seal, key_id, after, batch)
                for record in found:
                    after = record["webhook_id"]
                    try:
                        new[after] = seal_secrets(self._sealer, after, open_secrets(self._sealer, record))
                    except SecretUnreadableError as error:
                        _log.error("secret_unreadable", webhook=after, error=str(error))
                await store_sealed(connection, new)
            done, failed = done + len(new), failed + len(found) - len(new)
            if len(found) < batch:
                return done, failed

    @failpoint(after="secrets.after_batch")
    async def _seal_batch(self, key_id: str, job_ids: list[str]) -> tuple[int, int]:
        """Seal these anew in one transaction; return how many were sealed, and how many can't be opened."""
        new: dict[str, Sealed] = {}
        async with self._database.transaction() as connection:
            found = await connection.fetch(SQL.lock_secrets, job_ids, key_id)
            for record in found:
                try:
                    plain = msgspec.json.encode(self._open(record))
                except SecretUnreadableError as error:
                    _log.error("secret_unreadable", job_id=record["job_id"], error=str(error))
                else:
                    new[record["job_id"]] = self._sealer.seal(plain, place=_place(record["job_id"]))
            columns = ([each.key_id for each in new.values()], [each.blob for each in new.values()])
            await connection.execute(SQL.seal_secrets, list(new), *columns)
        return len(new), len(found) - len(new)

    def _open(self, record: asyncpg.Record) -> JobSecrets:
        if record["sealed"] is None:
            return JobSecrets(hf_token=record["hf_token"])
        sealed = Sealed(key_id=record["key_id"], blob=record["sealed"])
        return msgspec.json.decode(self._sealer.open(sealed, place=_place(record["job_id"])), type=JobSecrets)


def _place(job_id: str) -> str:
    return f"job_secrets/{job_id}"


def _remember(secrets: JobSecrets) -> None:
    for secret in (secrets.hf_token, secrets.adapter_token):
        REDACTOR.remember(secret)
