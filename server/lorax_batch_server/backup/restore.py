"""Makes a service's stores of a backup: the objects first, then the database, in one transaction.

So a database that is there names nothing that is missing. A restore that was cut off begins again: objects that are
there already are left as they are.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError, ObjectNotFoundError
from lorax_batch_scheduler.object_names import CHECKS_PREFIX, OWNED_PREFIXES, OWNER_KEY
from lorax_batch_scheduler.ports import ObjectStore, UploadedPart
from lorax_batch_scheduler.postgres.dump import check_empty, check_version, restore_database

from lorax_batch_server.backup.manifest import BackupFolder, CopiedObject, Manifest, damaged, file_sha256

COPIES_AT_ONCE: Final = 4
PART_BYTES: Final = 16 << 20
_MOST_PARTS: Final = 9_000
"""Of one object; stores take 10,000."""


async def restore_backup(dsn: str, objects: ObjectStore, path: Path) -> Manifest:
    """Fill an empty database and a store of its own, and return what the backup says of itself.

    Raises:
        ConfigurationError: the backup is damaged or of a newer version, the database is not empty, or the store is
            another database's. The database is untouched.
        DatabaseError: PostgreSQL failed; the database is as before.
        ObjectStoreError: the object store failed; the database is untouched.
    """
    folder = BackupFolder(path)
    manifest = await asyncio.to_thread(folder.open)
    check_version(manifest.schema_version)
    await check_empty(dsn)
    await _claim(objects, manifest.database_id)
    await _copy_all(objects, folder)
    await restore_database(dsn, folder.database)
    return manifest


async def _claim(objects: ObjectStore, database_id: str) -> None:
    """Mark the store as that database's, unless it is somebody else's."""
    try:
        owner = (await objects.get(OWNER_KEY)).decode(errors="replace")
    except ObjectNotFoundError:
        if await _holds_objects(objects):
            raise ConfigurationError(
                f"{objects!r} has objects, and no mark of whose they are: nothing was restored. Give an empty place; "
                f"or, if they are this backup's, write '{database_id}' to its object '{OWNER_KEY}'"
            ) from None
        await objects.create(OWNER_KEY, database_id.encode())
        return
    if owner != database_id:
        raise ConfigurationError(
            f"{objects!r} belongs to database {owner}, but the backup is of {database_id}: nothing was restored. Give "
            "it a place of its own with --object-store"
        )


async def _holds_objects(objects: ObjectStore) -> bool:
    for prefix in OWNED_PREFIXES:
        if prefix != CHECKS_PREFIX:
            async for _ in objects.scan(prefix):
                return True
    return False


async def _copy_all(objects: ObjectStore, folder: BackupFolder) -> None:
    waiting = folder.objects()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(COPIES_AT_ONCE):
                group.create_task(_copy_in_turn(objects, folder, waiting))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


async def _copy_in_turn(objects: ObjectStore, folder: BackupFolder, waiting: Iterator[CopiedObject]) -> None:
    for each in waiting:
        file = folder.object_file(each.key)
        if not await _is_there(objects, each):
            await asyncio.to_thread(_check, file, each)
            await _write(objects, each, file)


async def _is_there(objects: ObjectStore, each: CopiedObject) -> bool:
    """Tell whether a store has an object: a key never stands for other bytes."""
    try:
        return (await objects.head(each.key)).size_bytes == each.size_bytes
    except ObjectNotFoundError:
        return False


def _check(file: Path, each: CopiedObject) -> None:
    if not file.is_file() or file_sha256(file) != each.sha256:
        raise damaged(file)


async def _write(objects: ObjectStore, each: CopiedObject, file: Path) -> None:
    if each.size_bytes <= PART_BYTES:
        await objects.put(each.key, await asyncio.to_thread(file.read_bytes))
        return
    part_bytes = max(PART_BYTES, each.size_bytes // _MOST_PARTS + 1)
    upload_id = await objects.start_upload(each.key)
    try:
        with file.open("rb") as opened:
            parts: list[UploadedPart] = []
            while part := await asyncio.to_thread(opened.read, part_bytes):
                parts.append(await objects.upload_part(each.key, upload_id, len(parts) + 1, part))
    except BaseException:
        await objects.abort_upload(each.key, upload_id)
        raise
    await objects.complete_upload(each.key, upload_id, parts)
