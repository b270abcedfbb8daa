"""The connection against what a network and a server can do to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lorax_batch_scheduler.lorax_servers import Connection, WireFault
from lorax_batch_scheduler.lorax_servers.address import ServerAddress
from lorax_batch_scheduler.lorax_servers.connection import MAX_HEAD_BYTES
from lorax_batch_scheduler.lorax_servers.response_head import header

from tests.integration.lorax_servers.scripted_server import (
    CHAT_BODY,
    CLOSE,
    RESET,
    ScriptedServer,
    chunked_answer,
    http_answer,
    scripted,
)

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


class Client:
    """One connection and what it said."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.connection = Connection(
            lambda _, status, body: self.events.put_nowait((status, body)),
            lambda _, fault, detail: self.events.put_nowait((fault, detail)),
        )

    async def ask(self) -> tuple[Any, ...]:
        self.connection.send(REQUEST)
        return await self.next()

    async def next(self) -> tuple[Any, ...]:
        async with asyncio.timeout(5):
            return await self.events.get()


@asynccontextmanager
async def connected(*pieces: bytes) -> AsyncIterator[tuple[Client, ScriptedServer]]:
    async with scripted(lambda _: list(pieces)) as server:
        client, address = Client(), ServerAddress.from_url(server.url)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: client.connection, address.host, address.port)
        try:
            yield client, server
        finally:
            client.connection.close()


async def test_answers_one_after_the_other_come_on_one_connection():
    async with connected(http_answer(headers=b"x-queue-time: 7\r\n")) as (client, server):
        for _ in range(3):
            assert await client.ask() == (200, CHAT_BODY)
            assert client.connection.reusable
            assert header(client.connection.raw, b"x-queue-time") == b"7"
        assert server.connections == 1


async def test_an_answer_may_come_byte_by_byte():
    async with connected(*[bytes([byte]) for byte in http_answer()]) as (client, _):
        assert await client.ask() == (200, CHAT_BODY)
        assert header(client.connection.raw, b"content-type") == b"application/json"


async def test_a_chunked_body_is_put_together():
    async with connected(*chunked_answer(b"ab", b"c" * 70_000, b"d")) as (client, _):
        assert await client.ask() == (200, b"ab" + b"c" * 70_000 + b"d")
        assert await client.ask() == (200, b"ab" + b"c" * 70_000 + b"d")


async def test_connection_close_is_heeded():
    async with connected(http_answer(headers=b"Connection: close\r\n"), CLOSE) as (client, _):
        assert await client.ask() == (200, CHAT_BODY)
        assert not client.connection.reusable


async def test_a_body_may_end_with_the_connection():
    async with connected(b"HTTP/1.0 200 OK\r\n\r\nhello", CLOSE) as (client, _):
        assert await client.ask() == (200, b"hello")
        assert not client.connection.reusable


async def test_interim_answers_are_skipped():
    interim = b"HTTP/1.1 100 Continue\r\nx-queue-time: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with connected(interim, http_answer(headers=b"x-queue-time: 2\r\n")) as (client, _):
        assert await client.ask() == (200, CHAT_BODY)
        assert header(client.connection.raw, b"x-queue-time") == b"2"


async def test_an_empty_answer_has_an_empty_body():
    async with connected(http_answer(b"", status=b"404 Not Found")) as (client, _):
        assert await client.ask() == (404, b"")
        assert client.connection.reusable


@pytest.mark.parametrize(
    ("pieces", "fault"),
    [
        ([RESET], WireFault.RESET),
        ([CLOSE], WireFault.RESET),
        ([http_answer()[:-5], CLOSE], WireFault.CUT),
        ([http_answer()[:30], CLOSE], WireFault.CUT),
        ([*chunked_answer(b"abc")[:-1], CLOSE], WireFault.CUT),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], WireFault.GARBAGE),
        ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], WireFault.GARBAGE),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd"], WireFault.GARBAGE),
        ([b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * (MAX_HEAD_BYTES // 4)], WireFault.GARBAGE),
    ],
)
async def test_a_broken_answer_is_a_fault(pieces, fault):
    async with connected(*pieces) as (client, _):
        assert (await client.ask())[0] is fault
        assert not client.connection.reusable


async def test_an_endless_answer_is_refused(monkeypatch):
    monkeypatch.setattr("lorax_batch_scheduler.lorax_servers.connection.MAX_ANSWER_BYTES", 1_000_000)
    async with connected(*chunked_answer(*[b"a" * 60_000] * 40)) as (client, _):
        assert (await client.ask())[0] is WireFault.TOO_LARGE


async def test_a_second_answer_to_one_request_ends_the_connection():
    async with connected(http_answer() + http_answer(b"{}")) as (client, _):
        assert await client.ask() == (200, CHAT_BODY)
        assert not client.connection.reusable


async def test_words_nobody_asked_for_end_the_connection():
    async with connected(http_answer(), b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n") as (client, server):
        assert await client.ask() == (200, CHAT_BODY)
        server.hold.set()
        assert (await client.next())[0] is WireFault.GARBAGE


async def test_closing_is_silent():
    async with connected(b"") as (client, _):
        client.connection.send(REQUEST)
        client.connection.close()
        await asyncio.sleep(0)
        assert client.events.empty()
