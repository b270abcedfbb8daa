"""A plain upload: a part for each message."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from lorax_batch_scheduler.dataset import Dataset, UploadPart
from lorax_batch_scheduler.errors import InvalidInputError, NotAllowedError
from lorax_batch_scheduler.ports import DatasetStore, ObjectStore


class PartUpload:
    """Stores each message as it comes."""

    def __init__(self, datasets: DatasetStore, objects: ObjectStore, dataset_id: str, epoch: int, offset: int) -> None:
        self._datasets = datasets
        self._objects = objects
        self._dataset_id = dataset_id
        self._epoch = epoch
        self._offset = offset

    @classmethod
    async def begin(cls, datasets: DatasetStore, objects: ObjectStore, dataset_id: str, *, offset: int) -> Self:
        return cls(datasets, objects, dataset_id, await datasets.begin_upload(dataset_id, offset=offset), offset)

    async def write(self, data: bytes) -> None:
        key = f"uploads/{self._dataset_id}/{self._offset}-{self._epoch}"
        await self._objects.put(key, data)
        part = UploadPart(first_byte=self._offset, byte_count=len(data), key=key)
        await self._datasets.add_upload_part(self._dataset_id, self._epoch, part)
        self._offset += len(data)

    async def pause(self) -> None:
        pass

    async def finish(self, sha256: str | None) -> Dataset:
        return await self._datasets.finish_upload(self._dataset_id, self._epoch, sha256=sha256)


def resolve_import(path: str, roots: Sequence[Path]) -> Path:
    real = Path(path).resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise NotAllowedError(f"'{path}' is outside")
    if not real.is_file():
        raise InvalidInputError("path", f"'{path}' is no file")
    return real
