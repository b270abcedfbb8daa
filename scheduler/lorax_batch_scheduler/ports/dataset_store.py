"""Where datasets are kept."""

from collections.abc import Sequence
from typing import Protocol

from lorax_batch_scheduler.dataset import ChunkEntry, Dataset, DatasetSummary, InvalidReport, NewDataset, UploadPart
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.tenant import DEFAULT_TENANT, Storage


class DatasetStore(Protocol):
    """Datasets and where their bytes are. Raises `NotFoundError` for unknown ids, `DatabaseError` when out of reach."""

    async def create_dataset(self, new: NewDataset) -> Dataset:
        """Store a dataset: UPLOADING, or VALIDATING when it is imported. With a known `request_id`, return that one."""
        ...

    async def get_dataset(
        self, reference: str, *, names_of: str = DEFAULT_TENANT, ids_of: str | None = None
    ) -> Dataset:
        """Return a dataset by id (`ids_of`: of this tenant only), else the newest of that name of one tenant."""
        ...

    async def find_dataset_by_request(self, request_id: str, *, tenant: str = DEFAULT_TENANT) -> Dataset | None:
        """Return the dataset that a tenant created with this `request_id`."""
        ...

    async def list_datasets(self, *, page_size: int, page_token: str, tenant: str | None = None) -> Page[Dataset]:
        """Return datasets of a tenant or of all, newest first.

        Raises `InvalidInputError` for a token that is not ours.
        """
        ...

    async def storage(self, tenant: str) -> Storage:
        """Return what a tenant has stored, and what it may store."""
        ...

    async def begin_upload(self, dataset_id: str, *, offset: int) -> int:
        """Make the caller the one uploader from `offset` on and return its epoch; an earlier uploader is fenced.

        Raises `OffsetMismatchError`, and `StateConflictError` when the dataset is not UPLOADING.
        """
        ...

    async def add_upload_part(self, dataset_id: str, epoch: int, part: UploadPart) -> None:
        """Record stored bytes. Raises `BusyError` when another uploader has taken over."""
        ...

    async def finish_upload(self, dataset_id: str, epoch: int, *, sha256: str | None) -> Dataset:
        """All bytes are here: the dataset is VALIDATING from now on. Raises `BusyError` as above."""
        ...

    async def upload_parts(self, dataset_id: str) -> list[UploadPart]:
        """Return the stored parts by their first byte."""
        ...

    async def claim_dataset(self, scheduler_id: str, excluded: Sequence[str]) -> Dataset | None:
        """Make a living scheduler the one that ingests the next VALIDATING dataset which is not in `excluded`.

        Tenants take turns: the one whose last turn is longest ago has its oldest dataset ingested. None: nobody has
        to, or others do. The claim lasts until it is given back, or as long as the scheduler's lease.
        """
        ...

    async def release_datasets(self, scheduler_id: str) -> None:
        """Give back what a scheduler has claimed and not finished."""
        ...

    async def finish_ingest(
        self,
        dataset_id: str,
        summary: DatasetSummary,
        chunks: Sequence[ChunkEntry],
        storage_prefix: str,
        *,
        scheduler_id: str,
    ) -> Dataset:
        """In one transaction: store summary and chunk index, make the dataset READY, its waiting jobs QUEUED.

        The upload, and what other attempts have stored, is given up: see `Removals`.

        Raises `StateConflictError` when it was decided already, or is not this scheduler's any more.
        """
        ...

    async def fail_ingest(
        self,
        dataset_id: str,
        reason: str,
        report: InvalidReport,
        summary: DatasetSummary | None,
        *,
        scheduler_id: str,
    ) -> Dataset:
        """In one transaction: make the dataset FAILED, and its waiting jobs; all its objects are given up. Raises as
        `finish_ingest`.
        """
        ...

    async def delete_dataset(self, dataset_id: str) -> Dataset:
        """Forget the dataset, give up its objects, and return what it was.

        Raises `StateConflictError` while a job that has not ended uses it.
        """
        ...

    async def wait_for_datasets(self, timeout_s: float) -> None:
        """Return when some dataset has changed, or after the time."""
        ...
