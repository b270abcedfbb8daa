"""Where the bytes that `UploadDataset` receives go: the uploads of ingest."""

from lorax_batch_scheduler.dataset import Dataset, NewDataset
from lorax_batch_scheduler.ingest.uploads import DatasetUpload as StoredUpload
from lorax_batch_scheduler.ingest.uploads import UploadLimits
from lorax_batch_scheduler.ports import DatasetStore, ObjectStore


class DatasetIntake:
    """See `DatasetUploads`."""

    def __init__(self, datasets: DatasetStore, objects: ObjectStore, limits: UploadLimits) -> None:
        self._datasets = datasets
        self._objects = objects
        self._limits = limits

    async def begin(self, new: NewDataset) -> "IntakeUpload":
        """Begin at byte 0 of a new dataset, or of the one that this `request_id` has made."""
        dataset = await self._datasets.create_dataset(new)
        return await self.resume(dataset.dataset_id, offset=0)

    async def resume(self, dataset_id: str, *, offset: int) -> "IntakeUpload":
        """Go on at the stored offset."""
        stored = await StoredUpload.begin(self._datasets, self._objects, dataset_id, offset=offset, limits=self._limits)
        return IntakeUpload(dataset_id, stored)


class IntakeUpload:
    """See `DatasetUpload`."""

    def __init__(self, dataset_id: str, stored: StoredUpload) -> None:
        self.dataset_id = dataset_id
        self._stored = stored

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        await self._stored.write(data)

    async def suspend(self) -> None:
        """Store what was taken so far."""
        await self._stored.pause()

    async def finish(self, *, sha256: str | None) -> Dataset:
        """Store the rest."""
        return await self._stored.finish(sha256)
