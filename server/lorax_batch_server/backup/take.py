"""Takes a backup of a service that may be at work: the database first, then the objects that it names.

Objects are written before rows name them, and deleted after rows have given them up. So what a dump names was there
when the dump began, and is there for as long as deletes are held back: copied in this order, nothing is missing. In
the other order rows would name objects that came after the copy.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from lorax_batch_scheduler.errors import ObjectNotFoundError
from lorax_batch_scheduler.object_names import CHECKS_PREFIX, OWNED_PREFIXES
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.postgres.dump import dump_database, hold_removals

from lorax_batch_server.backup.manifest import FORMAT, BackupFolder, CopiedObject, Manifest, file_sha256

COPIES_AT_ONCE: Final = 4
_BLOCK_BYTES: Final = 1 << 20


async def take_backup(dsn: str, objects: ObjectStore, path: Path) -> Manifest:
    """Copy everything to a new folder and return what is in it.

    Raises:
        ConfigurationError: the folder is not empty, or there is no database of ours.
        DatabaseError: PostgreSQL failed, or the session that held deletes back was lost.
        ObjectStoreError: the object store failed. What was copied until then is no backup, and can be deleted.
    """
    folder = BackupFolder(path)
    folder.make()
    async with hold_removals(dsn) as hold:
        identity = await hold.identify()
        begin_time = datetime.now(UTC)
        await dump_database(dsn, folder.database)
        copied = await copy_objects(objects, folder)
        await hold.check()
    await asyncio.to_thread(_write_listing, folder.listing, copied)
    manifest = Manifest(
        format=FORMAT,
        database_id=identity.database_id,
        schema_version=identity.schema_version,
        begin_time=begin_time,
        end_time=datetime.now(UTC),
        object_count=len(copied),
        object_bytes=sum(each.size_bytes for each in copied),
        database_sha256=await asyncio.to_thread(file_sha256, folder.database),
        objects_sha256=await asyncio.to_thread(file_sha256, folder.listing),
    )
    await asyncio.to_thread(folder.complete, manifest)
    return manifest


async def copy_objects(objects: ObjectStore, folder: BackupFolder) -> list[CopiedObject]:
    """Copy all objects of a store, and return them in key order."""
    keys, turn, copied = _keys(objects), asyncio.Lock(), list[CopiedObject]()

    async def copy_in_turn() -> None:
        while True:
            async with turn:
                key = await anext(keys, None)
            if key is None:
                return
            one = await _copy(objects, key, folder.object_file(key))
            if one is not None:
                copied.append(one)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(COPIES_AT_ONCE):
                group.create_task(copy_in_turn())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return sorted(copied, key=lambda each: each.key)


async def _keys(objects: ObjectStore) -> AsyncIterator[str]:
    for prefix in OWNED_PREFIXES:
        if prefix != CHECKS_PREFIX:
            async for info in objects.scan(prefix):
                yield info.key


async def _copy(objects: ObjectStore, key: str, file: Path) -> CopiedObject | None:
    """Copy an object; None when it is gone: a part or an attempt that no row has ever named."""
    checksum, size_bytes = hashlib.sha256(), 0
    await asyncio.to_thread(file.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
    try:
        with file.open("wb") as opened:
            async for block in objects.stream(key, block_bytes=_BLOCK_BYTES):
                checksum.update(block)
                size_bytes += await asyncio.to_thread(opened.write, block)
            opened.flush()
            await asyncio.to_thread(os.fsync, opened.fileno())
    except ObjectNotFoundError:
        await asyncio.to_thread(file.unlink)
        return None
    return CopiedObject(key=key, size_bytes=size_bytes, sha256=checksum.hexdigest())


def _write_listing(file: Path, copied: list[CopiedObject]) -> None:
    with file.open("wb") as lines:
        for each in copied:
            lines.write(msgspec.json.encode(each) + b"\n")
        lines.flush()
        os.fsync(lines.fileno())
