"""Pack files into the object store, in bounded memory."""

import asyncio
from pathlib import Path
from typing import BinaryIO, Final

from lorax_batch_scheduler.ports import ObjectStore, UploadedPart

PART_BYTES: Final = 8 << 20


async def store_file(objects: ObjectStore, key: str, path: Path) -> None:
    """Store a file as an object: at once when small, else in parts. Raises `ObjectStoreError`."""
    with await asyncio.to_thread(path.open, "rb") as file:
        first = await asyncio.to_thread(file.read, PART_BYTES)
        if len(first) < PART_BYTES:
            await objects.put(key, first)
        else:
            await _store_parts(objects, key, first, file)


async def _store_parts(objects: ObjectStore, key: str, first: bytes, file: BinaryIO) -> None:
    upload_id = await objects.start_upload(key)
    try:
        parts: list[UploadedPart] = []
        block = first
        while block:
            parts.append(await objects.upload_part(key, upload_id, len(parts) + 1, block))
            block = await asyncio.to_thread(file.read, PART_BYTES)
        await objects.complete_upload(key, upload_id, parts)
    except Exception:
        await objects.abort_upload(key, upload_id)
        raise
