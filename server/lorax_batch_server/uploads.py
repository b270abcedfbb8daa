"""What UploadDataset needs of the inside: a place to put the bytes of a dataset."""

from typing import Protocol

from lorax_batch_scheduler.dataset import Dataset


class DatasetUpload(Protocol):
    """One stream of an upload. Dropping it at any moment loses only what is not stored yet."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes. Raises `BusyError` when another stream has taken over."""
        ...

    async def pause(self) -> None:
        """Store what was taken so far: the stream has ended, the upload has not."""
        ...

    async def finish(self, sha256: str | None) -> Dataset:
        """Store the rest; the dataset is VALIDATING from now on. Raises `BusyError`."""
        ...


class BeginUpload(Protocol):
    """Begins a stream of an upload."""

    async def __call__(self, dataset_id: str, *, offset: int) -> DatasetUpload:
        """Become the one uploader of a dataset from `offset` on; an earlier stream is fenced.

        Raises `NotFoundError`, `OffsetMismatchError`, and `StateConflictError` when it is not UPLOADING.
        """
        ...
