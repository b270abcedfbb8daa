"""Streams the bytes of a job's finished files."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.errors import ObjectNotFoundError, StateConflictError
from lorax_batch_scheduler.job import ResultFile
from lorax_batch_scheduler.ports import JobStore, ObjectStore

from lorax_batch_server.errors import DataLostError, OutOfRangeError
from lorax_batch_server.stopping import Stopping

BLOCK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePiece:
    """Some bytes of a file."""

    data: bytes
    offset: int
    file: ResultFile | None
    """Set in the first piece."""


class Download:
    """Hands out finished files."""

    def __init__(self, jobs: JobStore, objects: ObjectStore, stopping: Stopping) -> None:
        self._jobs = jobs
        self._objects = objects
        self._stopping = stopping

    async def pieces(self, job_id: str, *, error: bool, offset: int) -> AsyncIterator[FilePiece]:
        """Yield a file from a byte on; an empty rest is one piece without data.

        Raises:
            StateConflictError: the job has not ended, or ended without files.
            NotFoundError: no such job, or it was deleted meanwhile.
            OutOfRangeError: the file is shorter.
            DataLostError: the object store has less of it than was written.
        """
        job = await self._jobs.get_job(job_id)
        file = job.error_file if error else job.output_file
        if not job.state.terminal:
            raise StateConflictError("job", job_id, job.state, "ended", "stream its results until then")
        if file is None and job.counts.total:
            raise StateConflictError("job", job_id, "without files", "one with files", "stream its results")
        file = file or ResultFile(key="", row_count=0, byte_count=0, sha256="")
        if offset > file.byte_count:
            raise OutOfRangeError(f"offset {offset} is beyond the end of the file: it has {file.byte_count} bytes")
        if offset == file.byte_count:
            yield FilePiece(data=b"", offset=offset, file=file)
            return
        first = True
        try:
            async for data in self._objects.stream(file.key, offset=offset, block_bytes=BLOCK_BYTES):
                self._stopping.check()
                yield FilePiece(data=data, offset=offset, file=file if first else None)
                first = False
                offset += len(data)
        except ObjectNotFoundError:
            await self._jobs.get_job(job_id)  # nothing is lost when the job was deleted meanwhile
            raise
        if offset != file.byte_count:
            raise DataLostError(f"the file of job '{job_id}' ends at byte {offset} instead of {file.byte_count}")
