"""Takes the bytes of an upload in and stores them in parts, so that a broken stream loses nothing that was stored."""

from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.dataset import Dataset, UploadPart
from lorax_batch_scheduler.errors import BusyError, InvalidInputError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.object_names import uploads_prefix
from lorax_batch_scheduler.ports import DatasetStore, ObjectStore

PART_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """What an upload may be."""

    max_bytes: int = 64 << 30
    part_bytes: int = PART_BYTES


class DatasetUpload:
    """One stream of an upload: `begin`, `write` each message, then `finish`, or `pause` when the stream ends early.

    *Resources*: memory for a part and a message.
    """

    def __init__(
        self,
        datasets: DatasetStore,
        objects: ObjectStore,
        dataset_id: str,
        *,
        epoch: int,
        offset: int,
        limits: UploadLimits,
    ) -> None:
        self._datasets = datasets
        self._objects = objects
        self._dataset_id = dataset_id
        self._epoch = epoch
        self._stored_bytes = offset
        self._limits = limits
        self._buffer = bytearray()

    @classmethod
    @failpoint(before="upload.before_begin", after="upload.after_begin")
    async def begin(
        cls, datasets: DatasetStore, objects: ObjectStore, dataset_id: str, *, offset: int, limits: UploadLimits
    ) -> "DatasetUpload":
        """Become the one uploader from `offset` on.

        *Raises*: `OffsetMismatchError`, `StateConflictError`, `NotFoundError`.
        """
        epoch = await datasets.begin_upload(dataset_id, offset=offset)
        if epoch > 1:
            await _delete_nameless(datasets, objects, dataset_id)
        return cls(datasets, objects, dataset_id, epoch=epoch, offset=offset, limits=limits)

    @property
    def stored_bytes(self) -> int:
        """The offset from which another stream would go on."""
        return self._stored_bytes

    def check_total(self, total_bytes: int) -> None:
        """Refuse a size that was announced, before its bytes travel."""
        if total_bytes > self._limits.max_bytes:
            raise self._too_large(total_bytes)

    async def write(self, data: bytes) -> None:
        """Take the next bytes. Raises `InvalidInputError` past the size limit, `BusyError` when fenced."""
        total = self._stored_bytes + len(self._buffer) + len(data)
        if total > self._limits.max_bytes:
            raise self._too_large(total)
        self._buffer += data
        while len(self._buffer) >= self._limits.part_bytes:
            await self._store(self._limits.part_bytes)

    async def pause(self) -> None:
        """Store what is left: the stream ended, the upload has not."""
        if self._buffer:
            await self._store(len(self._buffer))

    @failpoint(before="upload.before_finish", after="upload.after_finish")
    async def finish(self, sha256: str | None) -> Dataset:
        """Store what is left and hand the dataset to ingest, which checks the sum."""
        await self.pause()
        return await self._datasets.finish_upload(self._dataset_id, self._epoch, sha256=sha256)

    @failpoint(after="upload.after_part")
    async def _store(self, byte_count: int) -> None:
        data = bytes(memoryview(self._buffer)[:byte_count])
        # The epoch is in the key: a fenced stream never overwrites the parts of its successor.
        key = f"{uploads_prefix(self._dataset_id)}{self._stored_bytes:020d}-{self._epoch}"
        await self._put(key, data)
        part = UploadPart(first_byte=self._stored_bytes, byte_count=byte_count, key=key)
        try:
            await self._datasets.add_upload_part(self._dataset_id, self._epoch, part)
        except BusyError:
            await self._objects.delete(key)
            raise
        self._stored_bytes += byte_count
        del self._buffer[:byte_count]

    @failpoint(before="upload.before_part_put", after="upload.after_part_put")
    async def _put(self, key: str, data: bytes) -> None:
        await self._objects.put(key, data)

    def _too_large(self, total_bytes: int) -> InvalidInputError:
        message = f"{total_bytes} bytes are more than the {self._limits.max_bytes} that a dataset may have: split it"
        return InvalidInputError("data", message)


async def _delete_nameless(datasets: DatasetStore, objects: ObjectStore, dataset_id: str) -> None:
    """Delete the parts that a stream stored before it died, too early to say so. We are the only uploader now.

    One that still lives deletes its part itself, when it finds that it was fenced.
    """
    named = {part.key for part in await datasets.upload_parts(dataset_id)}
    async for info in objects.scan(uploads_prefix(dataset_id)):
        if info.key not in named:
            await objects.delete(info.key)
