"""Ends a job: gives every row that did not run its line, writes the two files, moves the job to its outcome."""

from typing import Final

import msgspec

from lorax_batch_scheduler.chunk import Chunk, InvalidChunk
from lorax_batch_scheduler.errors import ObjectNotFoundError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import Job, JobState, ResultFile, RowError
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.ports.lease_store import LeaseStore
from lorax_batch_scheduler.ports.object_store import ObjectStore
from lorax_batch_scheduler.ports.result_store import ResultStore
from lorax_batch_scheduler.running.result_line import error_line
from lorax_batch_scheduler.scheduling.chunk_loader import ChunkLoader
from lorax_batch_scheduler.scheduling.committer import Committer
from lorax_batch_scheduler.scheduling.output_file import OutputFile
from lorax_batch_scheduler.work import RowOutcome

NOT_RUN: Final = {
    JobState.CANCELLED: (RowOutcome.CANCELLED, "batch_cancelled", "the job was cancelled before this row was run"),
    JobState.EXPIRED: (RowOutcome.EXPIRED, "batch_expired", "the job's deadline passed before this row was run"),
    JobState.FAILED: (RowOutcome.FAILED, "batch_failed", "the job failed before this row was run"),
}

UNKNOWN_LINE: Final = 0
"""Lines count from 1."""


class Finaliser:
    """Settles jobs that send no more rows. Any step may be repeated after a crash."""

    def __init__(
        self,
        *,
        leases: LeaseStore,
        results: ResultStore,
        objects: ObjectStore,
        loader: ChunkLoader,
        committer: Committer,
    ) -> None:
        self._leases = leases
        self._results = results
        self._objects = objects
        self._loader = loader
        self._committer = committer

    async def finalise(self, job: Job, scheduler_id: str) -> Job | None:
        """Bring a settling job to its end and return it.

        None: another process is at it or was faster, or has taken the rows that were to be settled here.
        """
        async with self._results.finalising(job.job_id) as owned:
            if not owned:
                return None
            for lease in await self._fence(scheduler_id, job.job_id):
                await self._settle(job, lease)
            await self._committer.flush()
            if not await self._results.every_row_settled(job.job_id):
                return None  # what is written now would be kept as the parts of the file
            output = await OutputFile(self._results, self._objects, job.job_id, error=False).write()
            error = await OutputFile(self._results, self._objects, job.job_id, error=True).write()
            return await self._finish(job.job_id, output, error)

    @failpoint(before="finalise.before_fence", after="finalise.after_fence")
    async def _fence(self, scheduler_id: str, job_id: str) -> list[LeasedChunk]:
        return await self._leases.fence_job(scheduler_id, job_id)

    @failpoint(before="finalise.before_finish", after="finalise.after_finish")
    async def _finish(self, job_id: str, output: ResultFile, error: ResultFile) -> Job:
        return await self._results.finish_job(job_id, output, error)

    @failpoint(after="finalise.after_settle")
    async def _settle(self, job: Job, lease: LeasedChunk) -> None:
        """Write the error lines of the rows of a chunk that have none."""
        try:
            chunk = await self._loader.load(lease)
        except ObjectNotFoundError as error:
            self._add_lost(lease, str(error))
        else:
            self._add_not_run(job, lease, chunk)
        if self._committer.congested:
            await self._committer.flush()

    def _add_not_run(self, job: Job, lease: LeasedChunk, chunk: Chunk | InvalidChunk) -> None:
        if isinstance(chunk, InvalidChunk):
            add_invalid_lines(self._committer, lease, chunk)
        else:
            outcome, code, message = NOT_RUN[job.outcome or JobState.FAILED]
            self._add_unanswered(lease, chunk, outcome, code, message)

    def _add_lost(self, lease: LeasedChunk, message: str) -> None:
        """Write the error lines of rows of which nothing is left, not even which lines they were: a job must end."""
        for row in range(lease.row_count):
            if not lease.done >> row & 1:
                text = error_line(lease.job_id.encode(), UNKNOWN_LINE, b"null", code="dataset_damaged", message=message)
                self._committer.add(lease, row, UNKNOWN_LINE, text, RowOutcome.FAILED, 0, 0)

    def _add_unanswered(self, lease: LeasedChunk, chunk: Chunk, outcome: RowOutcome, code: str, message: str) -> None:
        for row, (line, custom_id) in enumerate(zip(chunk.lines, chunk.custom_ids, strict=True)):
            if not lease.done >> row & 1:
                text = error_line(lease.job_id.encode(), line, custom_id, code=code, message=message)
                self._committer.add(lease, row, line, text, outcome, 0, 0)


def add_invalid_lines(committer: Committer, lease: LeasedChunk, chunk: InvalidChunk) -> None:
    """Write the error lines of a chunk of invalid lines."""
    for row, line in enumerate(chunk.lines):
        if lease.done >> row & 1:
            continue
        custom_id, code, message = chunk.custom_ids[row], chunk.codes[row], chunk.messages[row]
        if chunk.params[row]:
            message = f"{chunk.params[row]}: {message}"
        as_json = msgspec.json.encode(custom_id)
        text = error_line(lease.job_id.encode(), line, as_json, code=code, message=message)
        error = RowError(line=line, custom_id=custom_id or "", code=code, message=message)
        committer.add(lease, row, line, text, RowOutcome.INVALID, 0, 0, error)
