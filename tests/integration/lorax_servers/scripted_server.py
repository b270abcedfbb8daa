"""A server that answers with raw bytes, as a script says: for what no well-behaved server sends."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

RESET = b"<reset>"
"""In a script: reset the connection."""
CLOSE = b"<close>"
"""In a script: close the connection orderly."""

Script = Callable[["Request"], list[bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived."""

    head: bytes
    body: bytes
    connection: int
    number: int
    """Counted over all connections, from 0."""


@dataclass(slots=True)
class ScriptedServer:
    """Runs the script for each POST; GETs of probes are answered from `pages`, 404 where there is none."""

    script: Script
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    pages: dict[str, bytes] = field(default_factory=dict)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, a script's empty pieces wait."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"GET"):
                    page = self.pages.get(head.split()[1].decode())
                    writer.write(http_answer(page) if page is not None else http_answer(b"", status=b"404 Not Found"))
                    continue
                request = Request(head, body, number, len(self.requests))
                self.requests.append(request)
                if not await self._play(self.script(request), writer):
                    break

    async def _play(self, pieces: list[bytes], writer: asyncio.StreamWriter) -> bool:
        for piece in pieces:
            if piece == RESET:
                writer.transport.abort()
                return False
            if piece == CLOSE:
                return False
            if not piece:
                await self.hold.wait()
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return True


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server on a free port."""
    server = ScriptedServer(script)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await server.serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        await listener.wait_closed()


CHAT_BODY = b'{"id":"null","choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


def http_answer(body: bytes = CHAT_BODY, *, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """Return an answer with a content length."""
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
    return head % (status, headers, len(body)) + body


def chunked_answer(*pieces: bytes) -> list[bytes]:
    """Return an answer whose body comes in chunks, each a piece of its own on the wire."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]
