"""The SHA-256 of an upload, over all its streams."""

import asyncio
import hashlib
from typing import Final

from lorax_batch_scheduler.ports import DatasetStore, ObjectStore

_THREAD_BYTES: Final = 64 * 1024
"""From this size on, hashing in a thread costs less than it holds the event loop up."""


class UploadChecksum:
    """Hashes the bytes of a stream as they come; what earlier streams have brought is read again at the end."""

    def __init__(self, datasets: DatasetStore, objects: ObjectStore, dataset_id: str, *, offset: int) -> None:
        self._datasets = datasets
        self._objects = objects
        self._dataset_id = dataset_id
        self._continued = offset > 0
        self._hash = hashlib.sha256()

    async def update(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if not self._continued:
            await self._add(data)

    async def hexdigest(self) -> str:
        """Return the sum of the whole upload, all of which is stored by now."""
        if self._continued:
            for part in await self._datasets.upload_parts(self._dataset_id):
                async for block in self._objects.stream(part.key):
                    await self._add(block)
        return self._hash.hexdigest()

    async def _add(self, data: bytes) -> None:
        if len(data) < _THREAD_BYTES:
            self._hash.update(data)
        else:
            await asyncio.to_thread(self._hash.update, data)
