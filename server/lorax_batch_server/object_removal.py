"""Deletes the objects of what was forgotten."""

import structlog
from lorax_batch_scheduler.dataset import Dataset, UploadPart
from lorax_batch_scheduler.errors import ObjectStoreError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import Job
from lorax_batch_scheduler.ports import ObjectStore

_log = structlog.get_logger(__name__)


class ObjectRemoval:
    """Deletes objects after the database has forgotten them: a failure leaves bytes, never a broken reference."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def of_job(self, job: Job) -> None:
        """Delete the job's files."""
        files = [file for file in (job.output_file, job.error_file) if file is not None and file.key]
        await self._delete("job", job.job_id, [file.key for file in files], prefix="")

    async def of_dataset(self, dataset: Dataset, parts: list[UploadPart]) -> None:
        """Delete the dataset's chunks, and what is left of its upload."""
        await self._delete("dataset", dataset.dataset_id, [part.key for part in parts], dataset.storage_prefix)

    async def _delete(self, kind: str, name: str, keys: list[str], prefix: str) -> None:
        try:
            for key in keys:
                await self._delete_one(key)
            if prefix:
                await self._delete_prefix(prefix)
        except ObjectStoreError as error:
            _log.warning("objects_left_behind", kind=kind, name=name, prefix=prefix, keys=len(keys), error=str(error))

    @failpoint(after="delete.after_object")
    async def _delete_one(self, key: str) -> None:
        await self._objects.delete(key)

    @failpoint(after="delete.after_chunks")
    async def _delete_prefix(self, prefix: str) -> None:
        await self._objects.delete_prefix(prefix)
