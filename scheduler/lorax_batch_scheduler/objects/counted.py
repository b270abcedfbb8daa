"""An object store that counts what it is asked."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.ports import ObjectInfo, ObjectStore, UnfinishedUpload, UploadedPart
from lorax_batch_scheduler.telemetry.object_calls import ObjectCalls


class CountedObjectStore:
    """See `ObjectStore`. A stream counts its first block: how long the others take is up to the reader."""

    def __init__(self, inner: ObjectStore, calls: ObjectCalls) -> None:
        self._inner = inner
        self._calls = calls

    async def put(self, key: str, data: bytes) -> None:
        with self._counted("put"):
            await self._inner.put(key, data)

    async def create(self, key: str, data: bytes) -> bool:
        with self._counted("create"):
            return await self._inner.create(key, data)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        with self._counted("get"):
            return await self._inner.get(key, offset=offset, length=length)

    async def stream(self, key: str, *, offset: int = 0, block_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        blocks = self._inner.stream(key, offset=offset, block_bytes=block_bytes)
        assert isinstance(blocks, AsyncGenerator), "a stream that can't be closed would keep its connection"
        async with aclosing(blocks):
            with self._counted("stream"):
                first = await anext(blocks, None)
            if first is None:
                return
            yield first
            async for block in blocks:
                yield block

    async def head(self, key: str) -> ObjectInfo:
        with self._counted("head"):
            return await self._inner.head(key)

    async def delete(self, key: str) -> None:
        with self._counted("delete"):
            await self._inner.delete(key)

    def scan(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        return self._inner.scan(prefix, after=after)

    async def download_url(self, key: str, *, lifetime: timedelta, file_name: str) -> str | None:
        return await self._inner.download_url(key, lifetime=lifetime, file_name=file_name)

    async def delete_prefix(self, prefix: str, *, keep: str = "") -> int:
        with self._counted("delete_prefix"):
            return await self._inner.delete_prefix(prefix, keep=keep)

    async def start_upload(self, key: str) -> str:
        with self._counted("start_upload"):
            return await self._inner.start_upload(key)

    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        with self._counted("unfinished_uploads"):
            return await self._inner.unfinished_uploads(prefix)

    async def upload_part(self, key: str, upload_id: str, number: int, data: bytes) -> UploadedPart:
        with self._counted("upload_part"):
            return await self._inner.upload_part(key, upload_id, number, data)

    async def complete_upload(self, key: str, upload_id: str, parts: list[UploadedPart]) -> ObjectInfo:
        with self._counted("complete_upload"):
            return await self._inner.complete_upload(key, upload_id, parts)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        with self._counted("abort_upload"):
            await self._inner.abort_upload(key, upload_id)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    @contextmanager
    def _counted(self, operation: str) -> Iterator[None]:
        """Count a call that ends; one that its caller gave up says nothing of the store."""
        began = time.perf_counter()
        outcome = ""
        try:
            yield
            outcome = "ok"
        except ObjectNotFoundError:
            outcome = "not_found"
            raise
        except ObjectStoreError:
            outcome = "error"
            raise
        finally:
            if outcome:
                self._calls.add(operation, outcome, time.perf_counter() - began)
