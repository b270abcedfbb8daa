"""TLS in front of a server that talks plain."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.certificates import Issued


@asynccontextmanager
async def tls_before(url: str, issued: Issued, *, client_ca: Path | None = None, port: int = 0) -> AsyncIterator[str]:
    """Yield the https URL, by name, of a proxy that hands everything on to an http one."""
    place = urlsplit(url)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(issued.cert, issued.key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            behind, before = await asyncio.open_connection(place.hostname, place.port)
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, before))
                group.create_task(pass_on(behind, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what comes until it ends, then close."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        with suppress(OSError):
            writer.close()
