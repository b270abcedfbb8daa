"""Ingest on a real database and a real object store."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest_asyncio
from lorax_batch_scheduler.chunk import Chunk, decode_chunk
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import ChunkKind, Dataset, NewDataset, OnInvalid
from lorax_batch_scheduler.ingest.ingestion import Ingestion
from lorax_batch_scheduler.ingest.uploads import DatasetUpload, UploadLimits
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.dataset_store import PostgresDatasetStore
from lorax_batch_scheduler.postgres.lease_store import PostgresLeaseStore
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.removal_store import PostgresRemovalStore
from lorax_batch_scheduler.removals import Removals

LEASE = timedelta(seconds=60)


@dataclass(kw_only=True)
class Place:
    """Where datasets come in."""

    database: Database
    datasets: PostgresDatasetStore
    objects: DirectoryObjectStore
    leases: PostgresLeaseStore
    folder: Path
    scheduler_id: str = "scheduler-1"
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def ingestion(self, *, scheduler_id: str = "", **options: object) -> Ingestion:
        """Return what a fresh process would run."""
        return Ingestion(
            self.datasets,
            self.objects,
            self.removals(),
            self.folder / "scratch",
            clock=SystemClock(),
            new_id=lambda: f"attempt-{next(self.ids)}",
            scheduler_id=lambda: scheduler_id or self.scheduler_id,
            **options,  # type: ignore[arg-type]
        )

    async def begin_another_life(self) -> None:
        """Do what the next process on an embedded database does: all others are dead."""
        self.scheduler_id = f"{self.scheduler_id}+1"
        await self.leases.register_scheduler(self.scheduler_id, LEASE, exclusive=True)

    def removals(self) -> Removals:
        """Return what deletes objects that were given up."""
        return Removals(PostgresRemovalStore(self.database), self.objects, clock=SystemClock())

    async def begin(
        self, dataset_id: str = "ds_1", on_invalid: OnInvalid = OnInvalid.FAIL, limits: UploadLimits | None = None
    ) -> DatasetUpload:
        """Begin the upload of a new dataset."""
        await self.datasets.create_dataset(NewDataset(dataset_id=dataset_id, name="rows", on_invalid=on_invalid))
        return await DatasetUpload.begin(
            self.datasets, self.objects, dataset_id, offset=0, limits=limits or UploadLimits(part_bytes=1_000)
        )

    async def upload(
        self, data: bytes, dataset_id: str = "ds_1", on_invalid: OnInvalid = OnInvalid.FAIL, sha256: str | None = None
    ) -> Dataset:
        """Upload a dataset."""
        upload = await self.begin(dataset_id, on_invalid)
        for start in range(0, len(data), 700):
            await upload.write(data[start : start + 700])
        return await upload.finish(sha256)

    async def keys(self) -> list[str]:
        """Return the keys of all objects."""
        return [info.key async for info in self.objects.scan("")]

    async def chunks(self, dataset: Dataset) -> list[Chunk]:
        """Return the chunks of rows as the index has them."""
        async with self.database.connection() as connection:
            entries = await connection.fetch(
                "SELECT * FROM dataset_chunks WHERE dataset_id = $1 AND kind = $2 ORDER BY chunk_no",
                dataset.dataset_id,
                ChunkKind.ROWS,
            )
        return [
            decode_chunk(
                await self.objects.get(
                    f"{dataset.storage_prefix}pack-{entry['pack']:05d}",
                    offset=entry["pack_offset"],
                    length=entry["byte_count"],
                )
            )
            for entry in entries
        ]


@pytest_asyncio.fixture
async def place(database: str, tmp_path: Path) -> AsyncIterator[Place]:
    """Yield an empty database and object store."""
    connected = Database(database, max_connections=4)
    await connected.open()
    listener = Listener(database)
    listening = asyncio.create_task(listener.run())
    async with DirectoryObjectStore(tmp_path / "objects") as objects:
        leases = PostgresLeaseStore(connected)
        await leases.register_scheduler("scheduler-1", LEASE, exclusive=False)
        yield Place(
            database=connected,
            leases=leases,
            datasets=PostgresDatasetStore(connected, listener),
            objects=objects,
            folder=tmp_path,
        )
    listening.cancel()
    await asyncio.wait([listening])
    await connected.close()
