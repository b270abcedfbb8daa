"""What every object store must do, run on a directory, on moto's S3, and on real servers.

Those are Ceph's RGW (`make check-rgw`) and versitygw (`make check-versitygw`).
"""

import asyncio
import os
from contextlib import aclosing
from datetime import timedelta

import pytest
from aiohttp import ClientSession
from lorax_batch_scheduler.errors import InvalidInputError, ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectInfo, ObjectStore

from tests.conformance.object_stores import PART, keys_below, upload
from tests.conformance.object_stores import store as store
from tests.conformance.object_stores import store_url as store_url

BAD_KEYS = [
    *("", "/", "/etc/passwd", "a/", "a//b", "..", "../up", "a/../../up", "a/./b", ".hidden", "a/.uploads/x"),
    *("a b", "a\\b", "a\nb", "a\n", "a\0b", "grüße", "a/\u202eb", "a%2e%2e", "~", "a" * 256, "a/" * 500 + "a"),
]


# --- whole objects


async def test_what_was_put_is_read_back(store: ObjectStore) -> None:
    await store.put("datasets/a-1/chunk_0.zst", b"hello")
    assert await store.get("datasets/a-1/chunk_0.zst") == b"hello"
    assert await store.head("datasets/a-1/chunk_0.zst") == ObjectInfo(key="datasets/a-1/chunk_0.zst", size_bytes=5)


async def test_put_replaces(store: ObjectStore) -> None:
    await store.put("k", b"first, longer")
    await store.put("k", b"second")
    assert await store.get("k") == b"second"


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    await store.put("empty", b"")
    assert await store.get("empty") == b""
    assert [block async for block in store.stream("empty")] == []
    assert (await store.head("empty")).size_bytes == 0


async def test_objects_outlive_the_store_object(store: ObjectStore, store_url: str) -> None:
    await store.put("kept", b"x")
    async with open_object_store(store_url) as other:
        assert await other.get("kept") == b"x"


async def test_a_missing_object_is_told_by_its_key(store: ObjectStore) -> None:
    for reading in (store.get("no/such"), store.head("no/such"), store.get("no/such", offset=3, length=0)):
        with pytest.raises(ObjectNotFoundError) as caught:
            await reading
        assert caught.value.key == "no/such"
    with pytest.raises(ObjectNotFoundError):
        [block async for block in store.stream("no/such")]


async def test_delete_is_idempotent(store: ObjectStore) -> None:
    await store.put("k", b"x")
    await store.delete("k")
    await store.delete("k")
    with pytest.raises(ObjectNotFoundError):
        await store.head("k")


# --- create


async def test_create_does_not_replace(store: ObjectStore) -> None:
    assert await store.create("once", b"first") is True
    assert await store.create("once", b"second") is False
    assert await store.get("once") == b"first"


async def test_create_works_again_after_delete(store: ObjectStore) -> None:
    await store.create("once", b"first")
    await store.delete("once")
    assert await store.create("once", b"second") is True
    assert await store.get("once") == b"second"


async def test_one_of_racing_creators_wins(store: ObjectStore, store_url: str) -> None:
    async with open_object_store(store_url) as other:
        for round_ in range(3):
            key = f"race-{round_}"
            async with asyncio.TaskGroup() as group:
                creators = [
                    group.create_task((store, other)[number % 2].create(key, bytes([number]) * 100_000))
                    for number in range(12)
                ]
            winners = [number for number, creator in enumerate(creators) if creator.result()]
            assert len(winners) == 1
            assert await store.get(key) == bytes(winners) * 100_000


async def test_readers_never_see_half_of_a_write(store: ObjectStore) -> None:
    values = [bytes([number]) * (200_000 + number) for number in range(6)]
    await store.put("k", values[0])

    async def write() -> None:
        for value in values:
            await store.put("k", value)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        while not writing.done():
            assert await store.get("k") in values


# --- ranges


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 0, b""),
        (8, 100, b"89"),
        (9, 1, b"9"),
        (10, None, b""),
        (10, 5, b""),
        (1000, 5, b""),
    ],
)
async def test_ranges(store: ObjectStore, offset: int, length: int | None, expected: bytes) -> None:
    await store.put("digits", b"0123456789")
    assert await store.get("digits", offset=offset, length=length) == expected
    if length is None:
        assert b"".join([block async for block in store.stream("digits", offset=offset)]) == expected


async def test_negative_ranges_are_refused(store: ObjectStore) -> None:
    await store.put("digits", b"0123456789")
    with pytest.raises(InvalidInputError, match="offset: is -1"):
        await store.get("digits", offset=-1)
    with pytest.raises(InvalidInputError, match="length: is -2"):
        await store.get("digits", length=-2)


async def test_blocks_of_a_stream_have_the_size_asked_for(store: ObjectStore) -> None:
    data = os.urandom(2_500_000)
    await store.put("k", data)
    blocks = [block async for block in store.stream("k", offset=100, block_bytes=1_000_000)]
    assert [len(block) for block in blocks] == [1_000_000, 1_000_000, 499_900]
    assert b"".join(blocks) == data[100:]


async def test_a_stream_may_be_left_early(store: ObjectStore) -> None:
    await store.put("k", PART)
    async with aclosing(store.stream("k", block_bytes=1000)) as blocks:  # type: ignore[type-var]  # a generator
        async for block in blocks:
            assert block == PART[:1000]
            break
    assert await store.get("k", length=3) == PART[:3]


# --- listing


async def test_scan_is_in_key_order_and_takes_any_prefix(store: ObjectStore) -> None:
    keys = ["a", "b-c", "b.c", "b/c/d", "b/c0", "b/e", "bb/f", "z/1/2/3"]
    for key in reversed(keys):
        await store.put(key, key.encode())
    assert await keys_below(store, "") == keys
    assert await keys_below(store, "b") == ["b-c", "b.c", "b/c/d", "b/c0", "b/e", "bb/f"]
    assert await keys_below(store, "b/") == ["b/c/d", "b/c0", "b/e"]
    assert await keys_below(store, "b/c") == ["b/c/d", "b/c0"]
    assert await keys_below(store, "nothing/here") == []
    assert [info.size_bytes async for info in store.scan("b/c/")] == [5]


async def test_a_scan_goes_on_behind_any_key(store: ObjectStore) -> None:
    keys = ["a", "b-c", "b.c", "b/c/d", "b/c0", "b/e", "bb/f"]
    for key in keys:
        await store.put(key, b"x")
    for after in (*keys, "b/", "b/c", "b/c/", "b/d", "b0", "zz"):
        assert [info.key async for info in store.scan("", after=after)] == [key for key in keys if key > after]
    assert [info.key async for info in store.scan("b/", after="b/c/d")] == ["b/c0", "b/e"]


async def test_delete_prefix_deletes_what_is_below_and_nothing_else(store: ObjectStore) -> None:
    for key in ("d/1", "d/2/3", "d2/4", "d-5"):
        await store.put(key, b"x")
    assert await store.delete_prefix("d/") == 2
    assert await keys_below(store, "") == ["d-5", "d2/4"]
    assert await store.delete_prefix("d/") == 0


async def test_delete_prefix_aborts_unfinished_uploads(store: ObjectStore) -> None:
    upload_id, parts = await upload(store, "d/big", PART)
    other_id, other_parts = await upload(store, "e/big", PART)
    assert await store.delete_prefix("d/") == 0
    with pytest.raises((ObjectNotFoundError, ObjectStoreError)):
        await store.complete_upload("d/big", upload_id, parts)
    await store.complete_upload("e/big", other_id, other_parts)
    assert await keys_below(store, "") == ["e/big"]


async def test_delete_prefix_keeps_what_it_is_told_to_keep(store: ObjectStore) -> None:
    for key in ("d/1/a", "d/2/a", "d/2/b/c", "d/22/a", "d/3"):
        await store.put(key, b"x")
    kept_id, _ = await upload(store, "d/2/big", PART)
    await upload(store, "d/1/big", PART)
    assert await store.delete_prefix("d/", keep="d/2/") == 3
    assert await keys_below(store, "") == ["d/2/a", "d/2/b/c"]
    assert [each.upload_id for each in await store.unfinished_uploads("")] == [kept_id]
    for keep in ("d/", "e/2/", "d/2"):
        with pytest.raises(InvalidInputError):
            await store.delete_prefix("d/", keep=keep)


async def test_unfinished_uploads_are_told_by_prefix(store: ObjectStore) -> None:
    first, parts = await upload(store, "d/big", PART)
    second, _ = await upload(store, "d/big", PART)
    third, _ = await upload(store, "e/big", PART)
    found = {(each.key, each.upload_id) for each in await store.unfinished_uploads("d/big")}
    assert found == {("d/big", first), ("d/big", second)}
    await store.complete_upload("d/big", first, parts)
    await store.abort_upload("d/big", second)
    assert [(each.key, each.upload_id) for each in await store.unfinished_uploads("")] == [("e/big", third)]


async def test_delete_prefix_needs_a_whole_directory(store: ObjectStore) -> None:
    await store.put("d/1", b"x")
    for prefix in ("", "d", "/", "../", "./"):
        with pytest.raises(InvalidInputError):
            await store.delete_prefix(prefix)
    assert await keys_below(store, "") == ["d/1"]


# --- links


async def test_a_link_gives_the_bytes_to_whoever_has_it(store: ObjectStore, store_url: str) -> None:
    await store.put("results/job_1/output.jsonl", b"{}\n")
    url = await store.download_url("results/job_1/output.jsonl", lifetime=timedelta(hours=1), file_name="rows.jsonl")
    if store_url.startswith("file:"):
        assert url is None
        return
    assert url is not None
    async with ClientSession() as session, session.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"{}\n")
        assert answer.headers["Content-Disposition"] == 'attachment; filename="rows.jsonl"'


@pytest.mark.parametrize(
    ("lifetime", "file_name", "field"),
    [
        (timedelta(0), "rows.jsonl", "lifetime"),
        (timedelta(days=7, seconds=1), "rows.jsonl", "lifetime"),
        (timedelta(hours=1), 'a"; b', "file_name"),
    ],
)
async def test_a_link_has_limits(store: ObjectStore, lifetime: timedelta, file_name: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await store.download_url("k", lifetime=lifetime, file_name=file_name)
    assert caught.value.field == field


# --- keys


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_bad_keys_are_refused_everywhere(store: ObjectStore, key: str) -> None:
    for call in (store.put(key, b"x"), store.create(key, b"x"), store.get(key), store.head(key), store.delete(key)):
        with pytest.raises(InvalidInputError):
            await call
    with pytest.raises(InvalidInputError):
        [block async for block in store.stream(key)]
    with pytest.raises(InvalidInputError):
        await store.start_upload(key)


async def test_long_keys_are_fine(store: ObjectStore) -> None:
    key = "/".join(["k" * 200] * 4)
    await store.put(key, b"x")
    assert await keys_below(store, "") == [key]
