"""Reads leased chunks from the object store."""

import asyncio

from lorax_batch_scheduler.chunk import Chunk, InvalidChunk, decode_chunk, decode_invalid_chunk
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.ports.object_store import ObjectStore


class ChunkLoader:
    """Reads and decodes chunks; decoding runs in a thread, so that the loop goes on."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def load(self, lease: LeasedChunk) -> Chunk | InvalidChunk:
        """Return the chunk that a lease is for.

        Raises:
            ObjectStoreError, ObjectNotFoundError: it can't be read.
        """
        data = await self._objects.get(lease.pack_key, offset=lease.offset, length=lease.byte_count)
        decode = decode_chunk if lease.kind is ChunkKind.ROWS else decode_invalid_chunk
        return await asyncio.to_thread(decode, data)
