"""Reads what an operator should know of a PostgreSQL; changes nothing."""

from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres.database import database_errors
from lorax_batch_scheduler.postgres.migrations import shipped_migrations
from lorax_batch_scheduler.postgres.statements import SQL

TIMEOUT_S: Final = 10.0


class TableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One table."""

    name: str
    live_rows: int
    dead_rows: int
    """Versions of rows that autovacuum has not removed yet, as PostgreSQL counts them."""
    size_bytes: int
    """With its indexes."""
    usable: bool
    """Whether our role may read and change it."""


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One database, as our role sees it."""

    version: str
    major: int
    now: datetime
    role: str
    schema: str
    """Where our tables are; "": the role has none to use."""
    may_create: bool
    standby: bool
    read_only: bool
    encoding: str
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    autovacuum: str
    max_connections: int
    connections: int
    oldest_transaction_s: float
    size_bytes: int
    transaction_age: int
    """How many transactions ago its oldest row was frozen."""
    migrated: bool
    """Whether a service has used it before."""
    schema_version: int | None = 0
    """None: our role may not read it."""
    shipped_version: int
    """The schema of this program."""
    oldest_program: int = 0
    """The schema that a program must know to use this one."""
    tables: list[TableFacts] = []


async def read_database_facts(dsn: str) -> DatabaseFacts:
    """Ask a PostgreSQL on a connection of its own.

    Raises:
        ConfigurationError: it can't be reached, or refuses us.
        DatabaseError: it was lost meanwhile.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise ConfigurationError(f"PostgreSQL can't be used: {str(error) or type(error).__name__}") from error
    try:
        with database_errors():
            facts = dict(await connection.fetchrow(SQL.checkup) or {})
            facts["shipped_version"] = len(shipped_migrations())
            if facts["migrated"]:
                facts["tables"] = [dict(record) for record in await connection.fetch(SQL.checkup_tables)]
                usable = all(table["usable"] for table in facts["tables"])
                facts["schema_version"] = await connection.fetchval(SQL.checkup_schema) if usable else None
                if usable:
                    ours = facts["shipped_version"]
                    facts["oldest_program"] = await connection.fetchval(SQL.checkup_oldest_program, ours)
    finally:
        await connection.close(timeout=TIMEOUT_S)
    return msgspec.convert(facts, DatabaseFacts)
