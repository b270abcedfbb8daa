"""Brings a database to this version's schema: numbered plain SQL files, forward only."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from lorax_batch_scheduler.errors import ConfigurationError

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LOCK = 0x6C6F7261782D6264  # "lorax-bd": everybody who migrates this database waits here
_LOCK_TIMEOUT = "120s"
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_INSERT = "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema; its file never changes once released."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped_migrations(directory: Traversable | None = None) -> list[Migration]:
    """Return the migrations of this version in their order, numbered from 1 without a gap."""
    directory = directory or resources.files("lorax_batch_scheduler.postgres") / "migrations"
    if not directory.is_dir():
        return []
    found = sorted(_read(directory.iterdir()), key=lambda migration: migration.version)
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            raise ValueError(f"migration {migration.version:04}_{migration.name} should have number {expected:04}")
    return found


async def migrate(
    connection: asyncpg.Connection | PoolConnectionProxy, migrations: list[Migration] | None = None
) -> list[int]:
    """Apply what the database lacks, all or nothing, and return the versions applied.

    Any number of processes may call this at once: the first does the work, the others wait for it.

    Raises `ConfigurationError` when the database is newer than this version or an applied migration has changed.
    """
    wanted = shipped_migrations() if migrations is None else migrations
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_CREATE_TABLE)
        applied = await connection.fetch("SELECT version, name, sha256 FROM schema_migrations ORDER BY version")
        missing = _missing(wanted, applied)
        for migration in missing:
            await connection.execute(migration.sql)
            await connection.execute(_INSERT, migration.version, migration.name, migration.sha256)
    return [migration.version for migration in missing]


def _missing(wanted: list[Migration], applied: list[asyncpg.Record]) -> list[Migration]:
    """Return the migrations to apply, having checked that the applied ones are the shipped ones."""
    newest = applied[-1]["version"] if applied else 0
    if newest > len(wanted):
        raise ConfigurationError(
            f"the database has schema version {newest}, but this lorax-batch knows versions up to {len(wanted)}: "
            "run the newer lorax-batch that migrated it, or use another database"
        )
    for migration, row in zip(wanted, applied, strict=False):
        if (migration.version, migration.sha256) != (row["version"], row["sha256"]):
            raise ConfigurationError(
                f"the database was migrated by another text of migration {migration.version:04}_{migration.name} "
                f"(SHA-256 {row['sha256'][:12]} there, {migration.sha256[:12]} here): this is a development version's "
                "database, or this program was changed; use the program that made it, or an empty database"
            )
    return wanted[len(applied) :]


def _read(files: Iterable[Traversable]) -> Iterable[Migration]:
    for file in files:
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            yield Migration(version=int(match.group(1)), name=match.group(2), sql=file.read_text(encoding="utf-8"))
        elif file.name.endswith(".sql"):
            raise ValueError(f"'{file.name}' is not named like a migration, 0001_create_jobs.sql")
