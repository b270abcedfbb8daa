"""What UploadDataset needs of the inside: a place to put the bytes of a dataset."""

from typing import Protocol

from lorax_batch_scheduler.dataset import Dataset, NewDataset


class DatasetUpload(Protocol):
    """An upload that this process alone may continue. Dropping it at any moment loses only what is not stored yet."""

    @property
    def dataset_id(self) -> str:
        """The dataset that the bytes belong to."""
        ...

    async def write(self, data: bytes) -> None:
        """Take the next bytes. Raises `BusyError` when another upload has taken over."""
        ...

    async def suspend(self) -> None:
        """Store what was taken so far, so that a later upload goes on behind it."""
        ...

    async def finish(self, *, sha256: str | None) -> Dataset:
        """Store the rest; the dataset is VALIDATING from now on. Raises `ChecksumMismatchError`, `BusyError`."""
        ...


class DatasetUploads(Protocol):
    """Begins uploads."""

    async def begin(self, new: NewDataset) -> DatasetUpload:
        """Begin at byte 0 of a new dataset, or of the one that this `request_id` has made.

        Raises `OffsetMismatchError` when some of it is stored already, `StateConflictError` when all of it is.
        """
        ...

    async def resume(self, dataset_id: str, *, offset: int) -> DatasetUpload:
        """Go on at the stored offset; an earlier upload of the dataset is fenced.

        Raises `NotFoundError`, `OffsetMismatchError`, and `StateConflictError` when it is not UPLOADING.
        """
        ...
