"""What a multipart upload must do on every object store; see `test_object_store`."""

import asyncio
import tracemalloc
from dataclasses import replace

import pytest
from lorax_batch_scheduler.errors import InvalidInputError, ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.objects.keys import LEAST_PART_BYTES
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectInfo, ObjectStore

from tests.conformance.object_stores import PART, keys_below, upload
from tests.conformance.object_stores import store as store
from tests.conformance.object_stores import store_url as store_url


async def test_an_upload_is_visible_only_when_completed(store: ObjectStore) -> None:
    upload_id, parts = await upload(store, "big", PART, b"tail")
    with pytest.raises(ObjectNotFoundError):
        await store.head("big")
    assert await keys_below(store, "") == []
    made = await store.complete_upload("big", upload_id, parts)
    assert made == await store.head("big") == ObjectInfo(key="big", size_bytes=len(PART) + 4)
    assert await store.get("big") == PART + b"tail"


async def test_an_upload_goes_on_in_a_store_opened_anew(store: ObjectStore, store_url: str) -> None:
    upload_id, parts = await upload(store, "big", PART)
    async with open_object_store(store_url) as other:
        parts.append(await other.upload_part("big", upload_id, 2, b"tail"))
        await other.complete_upload("big", upload_id, parts)
    assert await store.get("big", offset=len(PART)) == b"tail"


async def test_a_part_may_be_stored_again(store: ObjectStore) -> None:
    upload_id, (first, _) = await upload(store, "big", PART, b"wrong")
    second = await store.upload_part("big", upload_id, 2, b"right")
    await store.complete_upload("big", upload_id, [first, second])
    assert await store.get("big", offset=len(PART)) == b"right"


async def test_parts_may_come_in_any_order_and_at_once(store: ObjectStore) -> None:
    upload_id = await store.start_upload("big")
    blocks = {1: PART, 2: PART[::-1], 7: b"tail"}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.upload_part("big", upload_id, *part)) for part in reversed(blocks.items())]
    parts = sorted((task.result() for task in tasks), key=lambda part: part.number)
    await store.complete_upload("big", upload_id, parts)
    assert await store.get("big") == b"".join(blocks.values())


async def test_an_upload_replaces_an_object(store: ObjectStore) -> None:
    await store.put("big", b"old")
    upload_id, parts = await upload(store, "big", b"new")
    await store.complete_upload("big", upload_id, parts)
    assert await store.get("big") == b"new"


async def test_completing_again_succeeds(store: ObjectStore) -> None:
    upload_id, parts = await upload(store, "big", PART, b"tail")
    made = await store.complete_upload("big", upload_id, parts)
    assert await store.complete_upload("big", upload_id, parts) == made


async def test_a_part_that_was_not_stored_so_is_refused(store: ObjectStore) -> None:
    upload_id, (part,) = await upload(store, "big", b"what was stored")
    forged = replace(part, token='"00000000000000000000000000000000"')
    with pytest.raises((ObjectStoreError, ObjectNotFoundError)):
        await store.complete_upload("big", upload_id, [forged])
    with pytest.raises(ObjectNotFoundError):
        await store.head("big")


async def test_parts_that_no_store_takes_are_refused_at_once(store: ObjectStore) -> None:
    upload_id, (first, second) = await upload(store, "big", b"small", b"tail")
    with pytest.raises(InvalidInputError, match="at least one part"):
        await store.complete_upload("big", upload_id, [])
    with pytest.raises(InvalidInputError, match="must ascend"):
        await store.complete_upload("big", upload_id, [second, first])
    with pytest.raises(InvalidInputError, match=f"all except the last need {LEAST_PART_BYTES}"):
        await store.complete_upload("big", upload_id, [first, second])
    for number in (0, 10_001):
        with pytest.raises(InvalidInputError, match="between 1 and 10000"):
            await store.upload_part("big", upload_id, number, b"x")


async def test_an_aborted_upload_is_gone(store: ObjectStore) -> None:
    upload_id, parts = await upload(store, "big", PART)
    await store.abort_upload("big", upload_id)
    await store.abort_upload("big", upload_id)
    # moto answers 500 where others say that there is no such upload.
    with pytest.raises((ObjectNotFoundError, ObjectStoreError)):
        await store.complete_upload("big", upload_id, parts)
    with pytest.raises((ObjectNotFoundError, ObjectStoreError)):
        await store.upload_part("big", upload_id, 2, b"x")
    with pytest.raises(ObjectNotFoundError):
        await store.head("big")


@pytest.mark.parametrize("upload_id", ["..", "../../etc", "unknown", "a/b", "abcd1234"])
async def test_an_unknown_upload_is_no_door_to_anywhere(store: ObjectStore, upload_id: str) -> None:
    with pytest.raises((ObjectNotFoundError, ObjectStoreError)):
        await store.upload_part("big", upload_id, 1, b"x")
    await store.abort_upload("big", upload_id)


async def test_large_objects_pass_through_bounded_memory(store: ObjectStore) -> None:
    tracemalloc.start()
    try:
        upload_id = await store.start_upload("big")
        parts = [await store.upload_part("big", upload_id, number, PART) for number in range(1, 9)]
        await store.complete_upload("big", upload_id, parts)
        total = 0
        async for block in store.stream("big"):
            total += len(block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 8 * len(PART)
    assert peak < 2 * len(PART)
