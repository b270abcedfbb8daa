"""Who runs which chunk."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.ports.lease import (
    ChunkResults,
    CommitReceipt,
    JobActivity,
    LeasedChunk,
    RowLengths,
    RowsLeft,
)


class LeaseStore(Protocol):
    """Who runs which chunk, and the results, fenced by leases."""

    async def register_scheduler(self, scheduler_id: str, lease: timedelta, *, exclusive: bool) -> None:
        """Make a scheduler known. `exclusive`: no other one can be alive, so what others had leased is free."""
        ...

    async def renew_scheduler(self, scheduler_id: str, lease: timedelta) -> bool:
        """Renew the lease, and free the chunks and datasets of dead schedulers; False: this one was declared dead."""
        ...

    async def unregister_scheduler(self, scheduler_id: str) -> None:
        """Give all leases and claims back."""
        ...

    async def rows_left(self, job_ids: Sequence[str]) -> list[RowsLeft]:
        """Return what is left to claim, an entry per job, kind and model."""
        ...

    async def row_lengths(self, job_ids: Sequence[str]) -> list[RowLengths]:
        """Return how long the rows of jobs are; nothing of jobs without any left."""
        ...

    async def claim_chunks(
        self, scheduler_id: str, job_id: str, kind: ChunkKind, model: str, limit: int
    ) -> list[LeasedChunk]:
        """Lease up to `limit` chunks of a runnable job that nobody runs, in storage order."""
        ...

    async def release_chunks(self, scheduler_id: str, chunks: Sequence[LeasedChunk]) -> None:
        """Give leases back that were not lost already."""
        ...

    async def release_forgotten(self, scheduler_id: str, known: Sequence[LeasedChunk]) -> None:
        """Give back every lease on chunks of jobs that are not settling, but these."""
        ...

    async def fence_job(self, scheduler_id: str, job_id: str) -> list[LeasedChunk]:
        """Take every unfinished chunk of a settling job from whoever runs it; nobody else can commit to it any more."""
        ...

    async def commit_results(
        self, scheduler_id: str, results: Sequence[ChunkResults], activity: Sequence[JobActivity]
    ) -> CommitReceipt:
        """Store the results of one tick for all jobs in one statement: all of a chunk's, or none of it."""
        ...

    async def clear_activity(self, scheduler_id: str, job_ids: Sequence[str]) -> None:
        """This scheduler does nothing for these jobs any more."""
        ...
