"""Brings a database to this version's schema: numbered plain SQL files, forward only.

A migration that programs of earlier versions can live with says so in its first line, `-- oldest program: 0009`: those
that know the migrations up to that one go on beside it, and may start again. So processes are upgraded one by one.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from lorax_batch_scheduler.errors import ConfigurationError

DIRECTORY_VARIABLE: Final = "LORAX_BATCH_MIGRATIONS"
"""Names a directory to use instead of the shipped one: tests play other versions with it."""

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_OLDEST_PROGRAM = re.compile(r"-- oldest program: (\d{4})\n")
_LOCK = 0x6C6F7261782D6264  # "lorax-bd": everybody who migrates this database waits here
_TURN_TIMEOUT = "120s"
_LOCK_TIMEOUT = "2s"
"""For a table: who waits for one holds up everybody behind it, so a migration gives up and tries again."""
_ATTEMPTS: Final = 30
_PAUSE_S: Final = 0.2
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version        integer PRIMARY KEY,
    name           text NOT NULL,
    sha256         text NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now(),
    -- The version that a program must have to use the schema from here on.
    oldest_program integer
);
ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS oldest_program integer
"""
_IS_THERE = "SELECT to_regclass('schema_migrations') IS NOT NULL"
# By way of JSON, because databases of earlier versions lack the last column.
_APPLIED = """
SELECT version, name, sha256, (to_jsonb(applied) ->> 'oldest_program')::integer AS oldest_program
FROM schema_migrations AS applied ORDER BY version
"""
_INSERT = "INSERT INTO schema_migrations (version, name, sha256, oldest_program) VALUES ($1, $2, $3, $4)"

_log = structlog.get_logger(__name__)

Connection = asyncpg.Connection | PoolConnectionProxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema; its file never changes once released."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def oldest_program(self) -> int:
        """The version that a program must know to use the schema behind this migration."""
        match = _OLDEST_PROGRAM.match(self.sql)
        return int(match[1]) if match else self.version


def shipped_migrations(directory: Traversable | None = None) -> list[Migration]:
    """Return the migrations of this version in their order, numbered from 1 without a gap."""
    directory = directory or _directory()
    if not directory.is_dir():
        return []
    found = sorted(_read(directory.iterdir()), key=lambda migration: migration.version)
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            raise ValueError(f"migration {migration.version:04}_{migration.name} should have number {expected:04}")
    return found


async def migrate(connection: Connection, migrations: list[Migration] | None = None) -> list[int]:
    """Apply what the database lacks, all or nothing, and return the versions applied.

    Any number of processes may call this at once: the first does the work, the others wait for it. Services may use the
    database meanwhile.

    Raises `ConfigurationError` when the database is newer than this version can use, when an applied migration has
    changed, and when our role may not change the schema.
    """
    wanted = shipped_migrations() if migrations is None else migrations
    try:
        applied = await _applied(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"the role of --database-url (LORAX_BATCH_DATABASE_URL) may not use the tables there ({error}): give the "
            "role that owns them, or grant this one SELECT, INSERT, UPDATE and DELETE on all of them"
        ) from error
    missing = _missing(wanted, applied)
    if len(applied) > len(wanted):
        _log.warning("schema_is_newer", schema=applied[-1]["version"], program=len(wanted))
    if not missing:
        return []
    for left in reversed(range(_ATTEMPTS)):
        try:
            return await _apply(connection, wanted)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if not left:
                raise
            await asyncio.sleep(_PAUSE_S)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
            raise ConfigurationError(
                f"the database has schema version {len(applied)}, this lorax-batch needs {len(wanted)}, and the role "
                f"of --database-url (LORAX_BATCH_DATABASE_URL) may not change it ({error}): run `lorax-batch migrate` "
                "with the --database-url of the role that owns the tables, or grant this one what it lacks"
            ) from error
    raise AssertionError("unreachable")


async def _apply(connection: Connection, wanted: list[Migration]) -> list[int]:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_TURN_TIMEOUT}'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        await connection.execute(_CREATE_TABLE)
        missing = _missing(wanted, await _applied(connection))
        for migration in missing:
            await connection.execute(migration.sql)
            facts = (migration.version, migration.name, migration.sha256, migration.oldest_program)
            await connection.execute(_INSERT, *facts)
    return [migration.version for migration in missing]


async def _applied(connection: Connection) -> list[asyncpg.Record]:
    return await connection.fetch(_APPLIED) if await connection.fetchval(_IS_THERE) else []


def _missing(wanted: list[Migration], applied: list[asyncpg.Record]) -> list[Migration]:
    """Return the migrations to apply, having checked that the applied ones are the shipped ones, or go with them."""
    for migration, row in zip(wanted, applied, strict=False):
        if (migration.version, migration.sha256) != (row["version"], row["sha256"]):
            raise ConfigurationError(
                f"the database was migrated by another text of migration {migration.version:04}_{migration.name} "
                f"(SHA-256 {row['sha256'][:12]} there, {migration.sha256[:12]} here): this is a development version's "
                "database, or this program was changed; use the program that made it, or an empty database"
            )
    oldest = oldest_program(applied[len(wanted) :])
    if oldest > len(wanted):
        raise ConfigurationError(
            f"the database has schema version {applied[-1]['version']}, but this lorax-batch knows versions up to "
            f"{len(wanted)} and would have to know {oldest}: run the newer lorax-batch that migrated it, or use "
            "another database (--database-url, LORAX_BATCH_DATABASE_URL)"
        )
    return wanted[len(applied) :]


def oldest_program(newer: list[asyncpg.Record]) -> int:
    """Return the version that a program must know to use a schema with these migrations; 0: any."""
    return max((row["oldest_program"] or row["version"] for row in newer), default=0)


def _directory() -> Traversable:
    named = os.environ.get(DIRECTORY_VARIABLE)
    return Path(named) if named else resources.files("lorax_batch_scheduler.postgres") / "migrations"


def _read(files: Iterable[Traversable]) -> Iterable[Migration]:
    for file in files:
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            yield Migration(version=int(match.group(1)), name=match.group(2), sql=file.read_text(encoding="utf-8"))
        elif file.name.endswith(".sql"):
            raise ValueError(f"'{file.name}' is not named like a migration, 0001_create_jobs.sql")
