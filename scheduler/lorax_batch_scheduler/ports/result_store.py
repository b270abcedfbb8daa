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
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputProgress:
    """How far the file of a job is written: what a restart continues from."""

    key: str
    upload_id: str
    parts: list[UploadedPart]


class ResultStore(Protocol):
    """Results as they were committed, and the files made of them."""

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

        About `max_bytes` of them, at least one; the next ones begin behind the last of these.
        """
        ...

    def finalising(self, job_id: str) -> AbstractAsyncContextManager[bool]:
        """Be the one process that finalises a job; yields False when another one is."""
        ...

    async def every_row_settled(self, job_id: str) -> bool:
        """Tell whether a settling job has the result of every row: its segments never change from then on."""
        ...

    async def output_progress(self, job_id: str, *, error: bool) -> OutputProgress | None: ...

    async def save_output_progress(self, job_id: str, *, error: bool, progress: OutputProgress) -> None: ...

    async def finish_job(self, job_id: str, output_file: ResultFile, error_file: ResultFile) -> Job:
        """The files are there: move the job to its outcome."""
        ...
