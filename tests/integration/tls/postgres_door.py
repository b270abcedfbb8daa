"""TLS in front of a real PostgreSQL whose build has none: answers its SSLRequest, and hands on what comes inside."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.certificates import Issued
from tests.tls_proxy import pass_on

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""Length, and the number that stands where a protocol version would."""


class PostgresDoor:
    """The only way in is TLS, as `hostssl` lines say."""

    def __init__(self, dsn: str, issued: Issued | None, client_ca: Path | None) -> None:
        """`issued`: None to refuse TLS, as a PostgreSQL with `ssl = off` does."""
        self._socket = f"{parse_qs(urlsplit(dsn).query)['host'][0]}/.s.PGSQL.5432"
        self._database = urlsplit(dsn).path
        self._user = urlsplit(dsn).username
        self._context = None
        if issued is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
            self._context.load_cert_chain(issued.cert, issued.key)
            self._context.verify_mode = ssl.CERT_REQUIRED if client_ca is not None else ssl.CERT_NONE
        self.port = 0
        self.tls_connections = 0

    def dsn(self, *, host: str = "localhost", query: str = "") -> str:
        """Return its address."""
        return f"postgresql://{self._user}@{host}:{self.port}{self._database}{query}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection."""
        if await reader.readexactly(8) != SSL_REQUEST:
            raise ConnectionAbortedError
        if self._context is None:
            writer.write(b"N")
            await writer.drain()
            return
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(self._context, ssl_handshake_timeout=5)
        self.tls_connections += 1
        behind, before = await asyncio.open_unix_connection(self._socket)
        async with asyncio.TaskGroup() as group:
            group.create_task(pass_on(reader, before))
            group.create_task(pass_on(behind, writer))


@asynccontextmanager
async def door_before(dsn: str, issued: Issued | None, *, client_ca: Path | None = None) -> AsyncIterator[PostgresDoor]:
    """Yield a door to the database at `dsn`."""
    door, tasks = PostgresDoor(dsn, issued, client_ca), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await door.serve(reader, writer)
        except* (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
