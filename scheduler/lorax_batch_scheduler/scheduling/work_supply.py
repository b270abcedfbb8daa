"""Brings leased chunks to runners: claims them, reads them, and hands them over."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from lorax_batch_scheduler.chunk import Chunk, InvalidChunk
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError, SecretUnreadableError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports.job_store import JobStore
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.ports.lease_store import LeaseStore
from lorax_batch_scheduler.ports.row_runner import RowRunner
from lorax_batch_scheduler.scheduling.chunk_loader import ChunkLoader
from lorax_batch_scheduler.scheduling.committer import Committer
from lorax_batch_scheduler.scheduling.finaliser import add_invalid_lines
from lorax_batch_scheduler.scheduling.job_book import KnownJob
from lorax_batch_scheduler.scheduling.job_traces import JobTraces
from lorax_batch_scheduler.work import ChunkWork

INVALID_CHUNKS_AT_ONCE: Final = 16
READ_TIMEOUT_S: Final = 15.0
"""Of a chunk, which has about a MiB: all jobs wait for it, also those that are to be cancelled."""
HOLD_S: Final = 2.0
"""How long a job is left alone after its chunks could not be read."""

SECRET_HOLD_S: Final = 5.0
"""The same after its token could not be read: somebody has to bring the key."""

_log = structlog.get_logger()


class WorkSupply:
    """Claims chunks for runners."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        leases: LeaseStore,
        loader: ChunkLoader,
        committer: Committer,
        scheduler_id: Callable[[], str],
        clock: Clock,
        traces: JobTraces,
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._loader = loader
        self._committer = committer
        self._scheduler_id = scheduler_id
        self._clock = clock
        self._traces = traces

    async def give(self, known: KnownJob, runner: RowRunner, server_id: str, model: str, chunk_count: int) -> None:
        """Claim chunks of a job and hand them to a runner.

        Raises:
            ObjectNotFoundError: a chunk is gone from the object store; the job can't go on.
        """
        if not await self._learn_secret(known):
            return
        holder = self._scheduler_id()
        leased = await self._claim(known.job.job_id, ChunkKind.ROWS, model, chunk_count)
        rows = sum(lease.row_count - lease.done.bit_count() for lease in leased)
        known.use(model, len(leased), rows, chunk_count)
        async with asyncio.TaskGroup() as group:
            loads = [group.create_task(self._try_load(known, lease)) for lease in leased]
        missing = None
        for lease, load in zip(leased, loads, strict=True):
            chunk = load.result()
            if isinstance(chunk, ObjectNotFoundError):
                missing = chunk
            elif isinstance(chunk, Chunk) and self._scheduler_id() == holder:  # else lost while it was read
                work = make_work(known, lease, chunk)
                work.server_id = server_id
                self._traces.chunk_given(known.job, work)
                known.give_out(work)
                runner.give(work)
        if missing is not None:
            raise missing

    async def settle_invalid(self, known: KnownJob) -> None:
        """Give the invalid lines of a job their error lines; they need no server."""
        leased = await self._claim(known.job.job_id, ChunkKind.INVALID, "", INVALID_CHUNKS_AT_ONCE)
        known.invalid_left = len(leased) == INVALID_CHUNKS_AT_ONCE
        for lease in leased:
            chunk = await self._try_load(known, lease)
            if isinstance(chunk, ObjectNotFoundError):
                raise chunk
            if isinstance(chunk, InvalidChunk):
                add_invalid_lines(self._committer, lease, chunk)
        await self._committer.flush()

    @failpoint(before="run.before_claim", after="run.after_claim")
    async def _claim(self, job_id: str, kind: ChunkKind, model: str, limit: int) -> list[LeasedChunk]:
        return await self._leases.claim_chunks(self._scheduler_id(), job_id, kind, model, limit)

    async def _try_load(self, known: KnownJob, lease: LeasedChunk) -> Chunk | InvalidChunk | ObjectNotFoundError | None:
        """Return the chunk, or what it means that it can't be read; then the lease is given back."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                chunk = await self._loader.load(lease)
        except ObjectNotFoundError as error:
            self._committer.release(lease)
            return error
        except (ObjectStoreError, TimeoutError) as error:
            why = str(error) or f"the object store did not give it within {READ_TIMEOUT_S:g} s"
            _log.warning("chunk_not_read", job_id=lease.job_id, chunk=lease.chunk_no, error=why)
            # Not why: that names the store's address, which is none of a tenant's business.
            known.trouble = "its rows can't be read: the object store is in trouble; tried again until it is not"
            known.hold_until = self._clock.monotonic() + HOLD_S
            self._committer.release(lease)
            return None
        known.trouble = ""
        return chunk

    async def _learn_secret(self, known: KnownJob) -> bool:
        """Learn what the job's requests carry; False: it can't be read, and the job says so."""
        if not known.secret_is_known:
            try:
                token = (await self._jobs.secrets(known.job.job_id)).row_token
            except SecretUnreadableError as error:
                _log.error("secret_unreadable", job_id=known.job.job_id, error=str(error))
                known.trouble = str(error)
                known.hold_until = self._clock.monotonic() + SECRET_HOLD_S
                return False
            known.authorization = f"Bearer {token}".encode() if token else None
            known.secret_is_known = True
        return True


def make_work(known: KnownJob, lease: LeasedChunk, chunk: Chunk) -> ChunkWork:
    """Return the rows of a chunk that have no result, ready for a runner."""
    job = known.job
    work = ChunkWork(
        lease=lease,
        chunk=chunk,
        adapter=known.adapter_of(chunk.model),
        authorization=known.authorization,
        default_max_tokens=job.default_max_tokens,
        adapter_source=chunk.adapter_source or job.server_config.adapter_source,
    )
    done = lease.done
    work.waiting.extend(row for row in range(lease.row_count) if not done >> row & 1)
    return work
