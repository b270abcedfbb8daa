"""Calls to the object store are counted as they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.objects.counted import CountedObjectStore
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.telemetry.object_calls import ObjectCalls


def counts(calls: ObjectCalls) -> dict[tuple[str, str], int]:
    return {kind: durations.count for kind, durations in calls.items()}


async def test_calls_are_counted_by_outcome(tmp_path: Path) -> None:
    calls = ObjectCalls()
    async with CountedObjectStore(DirectoryObjectStore(tmp_path), calls) as store:
        await store.put("a/b", b"bytes")
        assert await store.get("a/b") == b"bytes"
        assert [block async for block in store.stream("a/b", block_bytes=2)] == [b"by", b"te", b"s"]
        assert [info.key async for info in store.scan("a/")] == ["a/b"]
        with pytest.raises(ObjectNotFoundError):
            await store.head("a/c")
        upload = await store.start_upload("a/d")
        part = await store.upload_part("a/d", upload, 1, b"x")
        assert (await store.complete_upload("a/d", upload, [part])).size_bytes == 1
    assert counts(calls) == {
        ("put", "ok"): 1, ("get", "ok"): 1, ("stream", "ok"): 1, ("head", "not_found"): 1, ("start_upload", "ok"): 1,
        ("upload_part", "ok"): 1, ("complete_upload", "ok"): 1,
    }  # fmt: skip


class Troubled:
    """A store that fails, never answers, and tells when a stream of it is closed."""

    closed = False

    async def get(self, key: str, **_: object) -> bytes:
        raise ObjectStoreError(f"{key} can't be read", retryable=True)

    async def delete(self, key: str) -> None:
        await asyncio.Event().wait()

    async def stream(self, key: str, **_: object) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            self.closed = True


async def test_failures_count_and_what_the_caller_gave_up_does_not() -> None:
    calls, inner = ObjectCalls(), Troubled()
    store = CountedObjectStore(cast("ObjectStore", inner), calls)
    with pytest.raises(ObjectStoreError):
        await store.get("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.delete("a")
    assert counts(calls) == {("get", "error"): 1}


async def test_a_stream_that_is_left_is_closed() -> None:
    inner = Troubled()
    stream: Any = CountedObjectStore(cast("ObjectStore", inner), ObjectCalls()).stream("a")
    async with aclosing(stream):
        assert await anext(stream) == b"x"
    assert inner.closed
