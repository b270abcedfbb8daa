"""A TCP proxy that cuts its first connections, each after so many bytes, counted in both directions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CuttingProxy:
    """Passes bytes on between a client and one server."""

    def __init__(self, server_port: int, cuts: list[int]) -> None:
        self.port = 0
        self.cut_count = 0
        self._server_port = server_port
        self._cuts = cuts

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection until either side ends it or it is cut."""
        left = [self._cuts.pop(0)] if self._cuts else [1 << 60]
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        copies = [
            asyncio.ensure_future(_copy(reader, server_writer, left)),
            asyncio.ensure_future(_copy(server_reader, writer, left)),
        ]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.cut_count += left[0] < 0
            for one in (writer, server_writer):
                one.transport.abort()
            for copy in copies:
                copy.cancel()
            await asyncio.wait(copies)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            left[0] -= len(data)
            if left[0] < 0:
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def cutting_proxy(server_port: int, cuts: list[int]) -> AsyncIterator[CuttingProxy]:
    """Run a proxy on a free port of the loopback."""
    proxy = CuttingProxy(server_port, cuts)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
