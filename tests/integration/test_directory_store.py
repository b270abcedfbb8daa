"""What a directory store does beyond the port: durability of names, leftovers of a crash, no permission."""

import os
import time
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_writing_leaves_nothing_but_the_object(tmp_path: Path) -> None:
    async with DirectoryObjectStore(tmp_path) as store:
        await store.put("a/b", b"x")
        await store.create("a/c", b"x")
        await store.create("a/c", b"y")
        upload_id = await store.start_upload("a/d")
        part = await store.upload_part("a/d", upload_id, 1, b"z")
        await store.complete_upload("a/d", upload_id, [part])
    assert files_below(tmp_path) == ["a/b", "a/c", "a/d"]


async def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    scratch = tmp_path / ".incoming"
    scratch.mkdir()
    (scratch / "old").write_bytes(b"x")
    (scratch / "young").write_bytes(b"x")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(scratch / "old", (two_days_ago, two_days_ago))
    async with DirectoryObjectStore(tmp_path):
        assert [path.name for path in scratch.iterdir()] == ["young"]


async def test_completing_after_a_crash_between_naming_and_cleaning_succeeds(tmp_path: Path) -> None:
    async with DirectoryObjectStore(tmp_path) as store:
        upload_id = await store.start_upload("big")
        part = await store.upload_part("big", upload_id, 1, b"data")
        (tmp_path / "big").write_bytes(b"data")
        made = await store.complete_upload("big", upload_id, [part])
        assert made == await store.head("big")


async def test_an_upload_belongs_to_its_key(tmp_path: Path) -> None:
    async with DirectoryObjectStore(tmp_path) as store:
        upload_id = await store.start_upload("mine")
        with pytest.raises(ObjectNotFoundError):
            await store.upload_part("yours", upload_id, 1, b"x")


async def test_a_key_can_not_be_the_directory_of_another(tmp_path: Path) -> None:
    async with DirectoryObjectStore(tmp_path) as store:
        await store.put("a", b"x")
        with pytest.raises(ObjectStoreError, match="no key is the directory of another") as caught:
            await store.put("a/b", b"x")
        assert not caught.value.retryable


async def test_a_root_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectStoreError, match="file/store"):
        async with DirectoryObjectStore(tmp_path / "file" / "store"):
            pass
