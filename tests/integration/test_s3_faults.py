"""S3 over a connection that breaks: what is tried again, what is told, and whose object it is in the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest
from lorax_batch_scheduler.errors import ConfigurationError, ObjectStoreError
from lorax_batch_scheduler.objects.urls import open_object_store


class BreakingProxy:
    """Forwards connections to a server, and breaks the answers that a test chose."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._connections: set[asyncio.Task[None]] = set()
        self.url = ""
        self.requests = 0
        self.allowance: Callable[[bytes], int | None] = lambda _request: None
        """How many bytes of an answer go through before the connection breaks, by the request; None for all."""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.create_task(self._serve(reader, writer)))

    async def stop(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        left: int | None = None

        async def forward_requests() -> None:
            nonlocal left
            while piece := await reader.read(1 << 20):
                if piece.startswith((b"GET ", b"PUT ", b"HEAD ")):
                    self.requests += 1
                    left = self.allowance(piece)
                upstream_writer.write(piece)

        async def forward_answers() -> None:
            nonlocal left
            while piece := await upstream_reader.read(1 << 16):
                if left is not None and not piece.startswith(b"HTTP/1.1 100 "):
                    piece, left = piece[:left], left - len(piece)
                writer.write(piece)
                await writer.drain()
                if left is not None and left <= 0:
                    return

        ways = [asyncio.create_task(forward_requests()), asyncio.create_task(forward_answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            upstream_writer.close()
            writer.close()


@pytest.fixture
async def proxy(moto_url: str) -> AsyncIterator[BreakingProxy]:
    address = urlsplit(moto_url)
    assert address.hostname
    assert address.port
    breaking = BreakingProxy(address.hostname, address.port)
    server = await asyncio.start_server(breaking.accept, "127.0.0.1", 0)
    breaking.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield breaking
    server.close()
    await breaking.stop()


@pytest.fixture
def proxied_store_url(proxy: BreakingProxy, moto_store_url: str, moto_url: str) -> str:
    return moto_store_url.replace(moto_url, proxy.url)


async def test_a_body_that_breaks_off_is_read_on(proxied_store_url: str, proxy: BreakingProxy) -> None:
    data = bytes(range(256)) * 4_000
    async with open_object_store(proxied_store_url) as store:
        await store.put("k", data)
        allowances = iter([300_000, 400_000])
        proxy.allowance = lambda request: next(allowances, None) if request.startswith(b"GET") else None
        before = proxy.requests
        assert b"".join([block async for block in store.stream("k", block_bytes=10_000)]) == data
        assert proxy.requests == before + 3


async def test_a_body_that_always_breaks_off_is_told(proxied_store_url: str, proxy: BreakingProxy) -> None:
    async with open_object_store(proxied_store_url) as store:
        await store.put("k", b"x" * 100_000)
        proxy.allowance = lambda request: 1_000 if request.startswith(b"GET") else None
        with pytest.raises(ObjectStoreError, match="'k'") as caught:
            await store.get("k")
        assert caught.value.retryable


async def test_create_whose_answer_got_lost_knows_its_own_object(
    proxied_store_url: str, proxy: BreakingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorax_batch_scheduler.objects.s3_client.ATTEMPTS", 2)
    async with open_object_store(proxied_store_url) as store:
        allowances = iter([0])
        proxy.allowance = lambda request: next(allowances, None) if request.startswith(b"PUT") else None
        assert await store.create("once", b"mine") is True
        assert next(allowances, None) is None
        assert await store.create("once", b"another") is False


async def test_a_store_that_is_not_there_is_worth_another_try(moto_store_url: str, moto_url: str) -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    with pytest.raises(ObjectStoreError, match="can't be reached") as caught:
        async with open_object_store(moto_store_url.replace(moto_url, f"http://127.0.0.1:{port}")):
            pass
    assert caught.value.retryable
    assert caught.value.__cause__


async def test_a_missing_bucket_is_a_matter_of_configuration(moto_store_url: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no bucket 'lorax-batch-missing'"):
        async with open_object_store(moto_store_url.replace("lorax-batch-tests", "lorax-batch-missing")):
            pass


async def test_missing_credentials_are_told(moto_store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ObjectStoreError, match="AWS_ACCESS_KEY_ID") as caught:
        async with open_object_store(moto_store_url):
            pass
    assert not caught.value.retryable
