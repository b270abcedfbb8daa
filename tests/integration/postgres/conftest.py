"""The stores on a database of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest_asyncio
from lorax_batch_scheduler.dataset import (
    ChunkEntry,
    ChunkKind,
    Dataset,
    DatasetSummary,
    InvalidReport,
    ModelCount,
    NewDataset,
    OnInvalid,
)
from lorax_batch_scheduler.job import Job, NewJob
from lorax_batch_scheduler.postgres.access_store import PostgresAccessStore
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.dataset_store import PostgresDatasetStore
from lorax_batch_scheduler.postgres.export_store import PostgresExportStore
from lorax_batch_scheduler.postgres.fleet_store import PostgresFleetStore
from lorax_batch_scheduler.postgres.job_store import PostgresJobStore
from lorax_batch_scheduler.postgres.lease_store import PostgresLeaseStore
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.removal_store import PostgresRemovalStore
from lorax_batch_scheduler.postgres.result_store import PostgresResultStore
from lorax_batch_scheduler.postgres.retention_store import PostgresRetentionStore
from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore
from lorax_batch_scheduler.postgres.tenant_removal_store import PostgresTenantRemovalStore
from lorax_batch_scheduler.postgres.webhook_store import PostgresWebhookStore
from lorax_batch_scheduler.sealing.key_ring import KeyRing, new_key
from lorax_batch_scheduler.sealing.key_source import FixedKeys
from lorax_batch_scheduler.sealing.sealer import Sealer
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.tenant import DEFAULT_TENANT

LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """All stores of one database."""

    database: Database
    listener: Listener
    datasets: PostgresDatasetStore
    jobs: PostgresJobStore
    leases: PostgresLeaseStore
    results: PostgresResultStore
    removals: PostgresRemovalStore
    exports: PostgresExportStore
    retention: PostgresRetentionStore
    tenant_removals: PostgresTenantRemovalStore
    fleet: PostgresFleetStore
    access: PostgresAccessStore
    webhooks: PostgresWebhookStore

    async def ready_dataset(
        self,
        *row_counts: int,
        dataset_id: str = "ds_1",
        invalid_rows: int = 0,
        models: Sequence[str] = (),
        tenant: str = DEFAULT_TENANT,
    ) -> Dataset:
        """Store a READY dataset with chunks of so many rows, each of an adapter of its own."""
        await self.datasets.create_dataset(
            NewDataset(
                dataset_id=dataset_id,
                tenant=tenant,
                name="rows",
                on_invalid=OnInvalid.SKIP,
                source_path="/somewhere",
            )
        )
        sizes = [*((ChunkKind.ROWS, count) for count in row_counts)]
        if invalid_rows:
            sizes.append((ChunkKind.INVALID, invalid_rows))
        chunks = [
            ChunkEntry(
                chunk_no=number,
                kind=kind,
                endpoint="/v1/chat/completions" if kind is ChunkKind.ROWS else "",
                model=f"adapter-{number}" if kind is ChunkKind.ROWS else "",
                adapter_source="",
                row_count=count,
                prompt_tokens=10 * count,
                max_tokens=100 * count,
                first_line=1,
                last_line=count,
                pack=0,
                offset=1000 * number,
                byte_count=1000,
                longest_prompt_tokens=10 * (number + 1),
                largest_max_tokens=100 if number else 0,
            )
            for number, (kind, count) in enumerate(sizes)
        ]
        total = sum(row_counts) + invalid_rows
        summary = DatasetSummary(
            sha256="0" * 64,
            byte_count=500 * total,
            row_count=total,
            invalid=InvalidReport(line_count=invalid_rows),
            prompt_tokens=10 * total,
            models=[ModelCount(name, 1) for name in models]
            or [ModelCount(f"adapter-{number}", count) for number, count in enumerate(row_counts)],
            model_count=len(models or row_counts),
        )
        async with self.claimed(dataset_id) as scheduler_id:
            prefix = f"datasets/{dataset_id}/1/"
            return await self.datasets.finish_ingest(dataset_id, summary, chunks, prefix, scheduler_id=scheduler_id)

    @asynccontextmanager
    async def claimed(self, dataset_id: str) -> AsyncIterator[str]:
        """Yield the scheduler, there for this alone, that has claimed the dataset to ingest it."""
        scheduler_id = f"ingest-{dataset_id}"
        await self.leases.register_scheduler(scheduler_id, LEASE, exclusive=False)
        claimed = await self.datasets.claim_dataset(scheduler_id, [])
        assert claimed is not None
        assert claimed.dataset_id == dataset_id
        yield scheduler_id
        await self.leases.unregister_scheduler(scheduler_id)

    async def queued_job(self, job_id: str = "job_1", dataset_id: str = "ds_1", **fields: object) -> Job:
        """Store a job."""
        return await self.jobs.create_job(new_job(job_id, dataset_id, **fields))


def new_job(job_id: str = "job_1", dataset_id: str = "ds_1", **fields: object) -> NewJob:
    """Return what a caller asks for."""
    return NewJob(
        job_id=job_id,
        dataset_id=dataset_id,
        server_config=ServerConfig(base_model="mistral-7b"),
        base_model_id="mistral-7b",
        base_model_aliases=["", "mistral-7b"],
        price_micros_per_million=500_000,
        **fields,  # type: ignore[arg-type]
    )


@pytest_asyncio.fixture
async def stores(database: str) -> AsyncIterator[Stores]:
    """Yield the stores of a fresh database, with the listener running."""
    async with open_stores(database) as stores:
        yield stores


@asynccontextmanager
async def open_stores(database: str) -> AsyncIterator[Stores]:
    """Yield the stores of a migrated database, with the listener running."""
    connected = Database(database, max_connections=5)
    await connected.open()
    listener = Listener(database)
    listening = asyncio.create_task(listener.run())
    keys = KeyRing(keys=(new_key(),))
    sealer = Sealer(FixedKeys(keys))
    secrets = PostgresSecretStore(connected, sealer)
    yield Stores(
        database=connected,
        listener=listener,
        datasets=PostgresDatasetStore(connected, listener),
        jobs=PostgresJobStore(connected, listener, secrets),
        leases=PostgresLeaseStore(connected),
        results=PostgresResultStore(connected),
        removals=PostgresRemovalStore(connected),
        exports=PostgresExportStore(connected),
        retention=PostgresRetentionStore(connected),
        tenant_removals=PostgresTenantRemovalStore(connected),
        fleet=PostgresFleetStore(connected, listener),
        access=PostgresAccessStore(connected, listener),
        webhooks=PostgresWebhookStore(connected, sealer),
    )
    listening.cancel()
    await asyncio.wait([listening])
    await connected.close()
