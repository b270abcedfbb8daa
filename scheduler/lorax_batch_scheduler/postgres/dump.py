"""Writes all that a database holds into a file, and reads it back, by PostgreSQL's own programs."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.postgres.binaries import find_program
from lorax_batch_scheduler.postgres.database import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S, database_errors
from lorax_batch_scheduler.postgres.migrations import shipped_migrations
from lorax_batch_scheduler.postgres.statements import SQL

_SAID_BYTES: Final = 2_000
_ANALYZE_TIMEOUT_S: Final = 3_600.0
_SHARED: Final = ("--no-owner", "--no-privileges", "--no-password")


class DatabaseIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which database it is, and of which version of ours."""

    database_id: str
    schema_version: int


class RemovalHold:
    """A session during which no process deletes objects that rows have given up.

    So whatever a dump names that is begun now can be copied afterwards, while services run. Deletes are made up for
    when the session ends, however it does.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def identify(self) -> DatabaseIdentity:
        """Return which database it is. Raises `ConfigurationError` when it is none of ours, or of a newer version."""
        try:
            with database_errors():
                record = await self._connection.fetchrow(SQL.identify_database)
        except asyncpg.UndefinedTableError as error:
            raise ConfigurationError("this database is of an older lorax-batch: `lorax-batch migrate` first") from error
        assert record is not None
        identity = msgspec.convert(dict(record), DatabaseIdentity)
        check_version(identity.schema_version)
        return identity

    async def check(self) -> None:
        """Raise `DatabaseError` when the session was lost, and deletes went on."""
        try:
            with database_errors():
                await self._connection.fetchval("SELECT 1")
        except DatabaseError as error:
            raise DatabaseError(
                f"the connection that held deletes back was lost: back up once more ({error})"
            ) from error


@asynccontextmanager
async def hold_removals(dsn: str) -> AsyncIterator[RemovalHold]:
    """Hold deletes of objects back. Raises `ConfigurationError` when there is no database of ours."""
    connection = await _connect(dsn)
    try:
        if not await connection.fetchval(SQL.has_our_tables):
            raise ConfigurationError("this PostgreSQL has no tables of lorax-batch: check --database-url or --data-dir")
        await connection.fetchval(SQL.hold_removals)
        yield RemovalHold(connection)
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def dump_database(dsn: str, file: Path) -> None:
    """Write the database as it is when this begins. Raises `DatabaseError` with what `pg_dump` said."""
    await _run("pg_dump", dsn, "--format=custom", f"--file={file}", *_SHARED)


async def restore_database(dsn: str, file: Path) -> None:
    """Fill an empty database: with all that the file has, or not at all.

    Raises `DatabaseError` with what `pg_restore` said.
    """
    await _run("pg_restore", dsn, "--single-transaction", "--exit-on-error", *_SHARED, last=str(file))
    connection = await _connect(dsn)
    try:
        # The planner knows nothing of the new tables: the first plans would read them from end to end.
        await connection.execute("ANALYZE", timeout=_ANALYZE_TIMEOUT_S)
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def check_empty(dsn: str) -> None:
    """Raise `ConfigurationError` when the database has tables of ours."""
    connection = await _connect(dsn)
    try:
        if await connection.fetchval(SQL.has_our_tables):
            raise ConfigurationError(
                "this PostgreSQL has tables of lorax-batch already: nothing was restored. Give an empty database, or "
                "an empty --data-dir; or drop what is there first"
            )
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


def check_version(schema_version: int) -> None:
    """Raise `ConfigurationError` for a schema that this program does not know."""
    known = len(shipped_migrations())
    if schema_version > known:
        raise ConfigurationError(
            f"the database has schema version {schema_version}, but this lorax-batch knows versions up to {known}: "
            "use the lorax-batch that made it, or a newer one"
        )


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=STATEMENT_TIMEOUT_S)
    except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise ConfigurationError(
            f"PostgreSQL can't be used: {why}; check --database-url (LORAX_BATCH_DATABASE_URL) or --data-dir"
        ) from error


async def _run(name: str, dsn: str, *arguments: str, last: str | None = None) -> None:
    """Run a program; it ends with us."""
    plain, password = without_password(dsn)
    program = await asyncio.to_thread(find_program, name)
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        f"--dbname={plain}",
        *([last] if last else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **({"PGPASSWORD": password} if password else {})},
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DatabaseError(
            f"{name} failed ({process.returncode}): {said[-_SAID_BYTES:].decode(errors='replace').strip()}"
        )


def without_password(dsn: str) -> tuple[str, str]:
    """Return a DSN that everybody may see in a list of processes, and its password."""
    parts = urlsplit(dsn)
    options = parse_qsl(parts.query, keep_blank_values=True)
    login, at, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    password = unquote(password) or next((value for name, value in options if name == "password"), "")
    query = urlencode([(name, value) for name, value in options if name != "password"], quote_via=quote)
    return urlunsplit(parts._replace(netloc=f"{user}{at}{place}", query=query)), password
