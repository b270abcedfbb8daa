"""Results and the files made of them."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from lorax_batch_scheduler.job import Job, ResultFile
from lorax_batch_scheduler.ports.object_store import UploadedPart


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """A segment as readers get it; its rows have the offsets from `first_offset` on."""

    first_offset: int
    error: bool
    row_count: int
    first_line: int
    last_line: int
    byte_count: int
    """Of the text."""
    blob: bytes
    """Compressed, see `decode_segment`; of a range of a file the text itself, once a `ResultReader` has read it."""
    file_offset: int | None = None
    """Where it begins in the output or error file of its job; None: it is a segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputProgress:
    """How far the file of a job is written: what a restart continues from."""

    key: str
    upload_id: str
    parts: list[UploadedPart]


class ResultSource(Protocol):
    """Results as they were committed."""

    async def segments(
        self, job_id: str, *, first_offset: int, error: bool | None, max_bytes: int
    ) -> list[StoredSegment]:
        """Return segments, in offset order, that end behind `first_offset`; about `max_bytes` of them, at least one."""
        ...

    async def segments_of_lines(
        self,
        job_id: str,
        *,
        first_line: int,
        last_line: int,
        error: bool | None,
        first_offset: int,
        max_bytes: int,
    ) -> list[StoredSegment]:
        """Return segments that may hold a line of that range, in offset order, from `first_offset` on.

        About `max_bytes` of them, at least one; the next ones begin behind the last of these. The first may begin
        before `first_offset`, when segments became ranges between two calls: leave those rows out.
        """
        ...


class ResultStore(ResultSource, Protocol):
    """Results as they were committed, and the files made of them."""

    def finalising(self, scheduler_id: str, job_id: str) -> AbstractAsyncContextManager[int]:
        """Be the one scheduler that finalises a job, as long as it is alive.

        Yields how many in a row, this one included, have begun that without getting any further; 0: another one is at
        it, or it is too early to try again. What is raised inside counts as not getting further, except our own errors.
        """
        ...

    async def every_row_settled(self, job_id: str) -> bool:
        """Tell whether a settling job has the result of every row: its segments never change from then on."""
        ...

    async def output_progress(self, job_id: str, *, error: bool) -> OutputProgress | None: ...

    async def save_output_progress(self, job_id: str, *, error: bool, progress: OutputProgress) -> None: ...

    async def forget_output_progress(self, job_id: str, *, error: bool) -> None:
        """A restart begins the file anew."""
        ...

    async def abandon_job(self, job_id: str, reason: str) -> Job:
        """Its files can't be written: end it without them, FAILED unless it was cancelled. Its results are kept."""
        ...

    async def finish_job(self, job_id: str, output_file: ResultFile, error_file: ResultFile) -> Job:
        """The files are there: move the job to its outcome. Raises `NotFoundError`, `StateConflictError`."""
        ...
