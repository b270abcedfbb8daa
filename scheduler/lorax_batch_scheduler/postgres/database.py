"""Connections to PostgreSQL: a pool, one transaction at a time, and its errors as ours."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.tls.trouble import closed_advice, with_advice

Connection = PoolConnectionProxy

CONNECT_TIMEOUT_S: Final = 10.0
STATEMENT_TIMEOUT_S: Final = 60.0
"""The slowest statement indexes the chunks of a dataset of 10 million rows, in a few seconds."""
ACQUIRE_TIMEOUT_S: Final = 20.0
IDLE_TRANSACTION_S: Final = 5.0
"""PostgreSQL rolls back for a process that is silent for so long in the middle of a transaction: one that is frozen or
cut off there would hold its locks, the event clock's among them, and so every move of every job."""
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped NUL, which jsonb can't hold; rows and servers may send one, and what we store of them is for people."""

# What says that the server is away or can't do it now, not that the statement is wrong.
_PASSING = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    # Out of connections, memory, disk.
    asyncpg.InsufficientResourcesError,
    # EIO, a file that is gone; and what its own checks say when those are the reason.
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    # A standby that is about to take over, or an operator who made room.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    # What a statement meets on a connection that was lost in the middle of another one.
    asyncpg.InternalClientError,
    # A newer version has migrated the schema in the middle of a transaction; the next try prepares its statements anew.
    asyncpg.InvalidCachedStatementError,
    # We were silent for too long in the middle of a transaction.
    asyncpg.IdleInTransactionSessionTimeoutError,
)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what the driver raises when the server is away or unable into `DatabaseError`, keeping the cause."""
    try:
        yield
    except _PASSING as error:
        text = f"PostgreSQL: {type(error).__name__}: {error}" if str(error) else repr(error)
        raise DatabaseError(with_advice(text, error, prefix="database")) from error


class Database:
    """A pool of connections; opened lazily, so that it outlives restarts of the server."""

    def __init__(
        self,
        dsn: str,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 10,
        idle_transaction_s: float = IDLE_TRANSACTION_S,
    ) -> None:
        """`tls`: see `driver_tls`; None: as the DSN says."""
        self._dsn = dsn
        self.tls = tls
        self._max_connections = max_connections
        self._idle_transaction_s = idle_transaction_s
        self._pool: asyncpg.Pool | None = None
        self._lent: dict[Connection, float] = {}
        """Connections in use, and since when."""

    @property
    def dsn(self) -> str:
        """Where the database is."""
        return self._dsn

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            ConfigurationError: the server does not answer, refuses us, or is too old.
        """
        try:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                ssl=self.tls,
                # All of them from the start: a call that has to open one waits 20 to 60 ms longer.
                min_size=self._max_connections,
                max_inactive_connection_lifetime=0,
                max_size=self._max_connections,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_TIMEOUT_S,
                connection_class=_Connection,
                init=_init_connection,
                server_settings={
                    "application_name": "lorax-batch",
                    "idle_in_transaction_session_timeout": f"{self._idle_transaction_s * 1000:.0f}ms",
                },
            )
        except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            why = with_advice(str(error) or type(error).__name__, error, prefix="database")
            if "client certificate" in why:
                why += "; set database_cert and database_key"
            elif "rejected SSL upgrade" in why:
                why += (
                    "; it talks no TLS: set ssl = on there, or leave database_ca, database_cert, database_key and "
                    "sslmode out"
                )
            elif isinstance(error, asyncpg.ConnectionDoesNotExistError) and "sslmode=" in self._dsn:
                why += f"; {closed_advice('database')}"
            raise ConfigurationError(
                f"PostgreSQL can't be used: {why}; check --database-url (LORAX_BATCH_DATABASE_URL)"
            ) from error
        async with self.connection() as connection:
            version = connection.get_server_version()
        if version.major < 15:
            raise ConfigurationError(f"PostgreSQL {version.major} is too old: 15 or newer is needed")

    async def close(self) -> None:
        """Close the connections, waiting a moment for those in use."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; each statement is a transaction of its own."""
        if self._pool is None:
            raise DatabaseError("PostgreSQL: not connected")
        with database_errors():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                self._lent[connection] = asyncio.get_running_loop().time()
                try:
                    yield connection
                except (asyncpg.InternalClientError, TimeoutError, asyncio.CancelledError):
                    # Its state is lost, or its statement goes on without us: taking it back would wait until PostgreSQL
                    # has ended that. The pool opens another.
                    connection.terminate()
                    raise
                finally:
                    del self._lent[connection]

    async def come_back(self, back_at: float, *, patience_s: float) -> None:
        """Forget the connections of before an outage: some may be dead and never say so.

        Statements that were sent before `back_at` (of the loop's clock) may still end, for so long; then their
        callers get `DatabaseError`.
        """
        if self._pool is not None:
            await self._pool.expire_connections()
        await asyncio.sleep(patience_s)
        for connection, since in list(self._lent.items()):
            if since <= back_at:
                connection.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction: committed at the end, rolled back by any exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        """Return nothing: no session of the pool has locks, cursors, listeners or settings of its own.

        What asyncpg would send after each use is four statements, a third of all that schedulers at work send.
        """
        return ""


async def _init_connection(connection: Any) -> None:  # noqa: ANN401 - asyncpg's own type of it is private
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_json, decoder=msgspec.json.decode, format="text"
    )


def _encode_json(value: object) -> str:
    encoded = msgspec.json.encode(value)
    if b"\\u0000" in encoded:
        encoded = _NUL.sub(rb"\1\\ufffd", encoded)
    return encoded.decode()
