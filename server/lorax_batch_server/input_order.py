"""Streams the result rows of an ended job by line of its dataset, in bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Final

from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.ports import JobStore, ResultSource, StoredSegment
from lorax_batch_scheduler.segment import Segment

from lorax_batch_server.errors import OutOfRangeError
from lorax_batch_server.result_stream import READ_BYTES, SentRows, StreamSummary, read_segment
from lorax_batch_server.row_packer import PackedRows, RowPacker
from lorax_batch_server.stopping import Stopping

WINDOW_BYTES: Final = 32 * 1024 * 1024
"""Text of rows that one stream holds at most, but for one segment."""
MAX_STREAMS: Final = 2
"""Streams that may hold a window at a time; others wait."""
LAST_LINE: Final = 2**62
_ROW_BYTES: Final = 150
"""What holding a row costs beside its text."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    error: bool
    text: bytes


class InputOrder:
    """Sorts windows of rows.

    Rows of one adapter are stored together, so any segment may hold lines from everywhere in the dataset. A window
    takes in all segments and keeps the lowest lines, as many as fit; the next one begins behind them. A job whose
    results fit a window is read once.
    """

    def __init__(
        self, jobs: JobStore, results: ResultSource, stopping: Stopping, *, window_bytes: int = WINDOW_BYTES
    ) -> None:
        self._jobs = jobs
        self._results = results
        self._stopping = stopping
        self._window_bytes = window_bytes
        self._permits = asyncio.Semaphore(MAX_STREAMS)

    async def rows(self, job_id: str, *, after: int, error: bool | None) -> AsyncIterator[PackedRows | StreamSummary]:
        """Yield the rows behind a place in the order of lines (-1: all) and at last the summary.

        Raises:
            StateConflictError: the job has not ended.
            NotFoundError: no such job, or it was deleted meanwhile.
            OutOfRangeError: there is no row at that place.
        """
        job = await self._jobs.get_job(job_id)
        if not job.state.terminal:
            raise StateConflictError(
                "job", job_id, job.state, "ended", "input order needs all rows; take completion order until then"
            )
        sent, packer, place = SentRows(), RowPacker(), 0
        async with self._permits:
            async for row in self._sorted(job_id, error):
                if place > after:
                    for rows in packer.add(row.text, error=row.error, first_offset=place, row_count=1):
                        yield sent.note(rows)
                        self._stopping.check()
                place += 1
        # Of a job deleted meanwhile rows are missing: that is no end to confirm.
        await self._jobs.get_job(job_id)
        for rows in packer.flush():
            yield sent.note(rows)
        if after >= place:
            raise OutOfRangeError(f"after_offset {after} is beyond the last row: job '{job_id}' has {place} of them")
        yield sent.summary(job, place - 1)

    async def _sorted(self, job_id: str, error: bool | None) -> AsyncIterator[_Row]:
        first_line = 0
        while True:
            window = _Window(self._window_bytes, first_line)
            async for stored, known in self._segments(job_id, window, error):
                segment = await read_segment(job_id, stored)
                window.take(segment, error=stored.error, known=known)
            for row in window.sorted():
                yield row
            if window.last_line == LAST_LINE:
                return
            first_line = window.last_line + 1

    async def _segments(
        self, job_id: str, window: "_Window", error: bool | None
    ) -> AsyncIterator[tuple[StoredSegment, int]]:
        """Yield what may hold rows of the window, and how many of its first rows were there before."""
        position = 0
        while True:
            self._stopping.check()
            segments = await self._results.segments_of_lines(
                job_id,
                first_line=window.first_line,
                last_line=window.last_line,
                error=error,
                first_offset=position,
                max_bytes=READ_BYTES,
            )
            if not segments:
                return
            for stored in segments:
                yield stored, max(position - stored.first_offset, 0)
            position = segments[-1].first_offset + segments[-1].row_count


class _Window:
    """The rows with the lowest lines from `first_line` on, as many as fit; rows up to `last_line` are all in it."""

    def __init__(self, limit_bytes: int, first_line: int) -> None:
        self.first_line = first_line
        self.last_line = LAST_LINE
        self._limit_bytes = limit_bytes
        self._rows: list[_Row] = []
        self._bytes = 0

    def take(self, segment: Segment, *, error: bool, known: int) -> None:
        """Take in the rows of a segment that belong to the window, but for the first `known` ones."""
        # Not splitlines: a carriage return is white space in JSON, not the end of a row.
        for line, text in islice(zip(segment.lines, segment.text.split(b"\n"), strict=False), known, None):
            if self.first_line <= line <= self.last_line:
                self._rows.append(_Row(line, error, text + b"\n"))
                self._bytes += len(text) + _ROW_BYTES
        if self._bytes > self._limit_bytes:
            self._shrink()

    def sorted(self) -> list[_Row]:
        """Return the rows by line."""
        self._rows.sort(key=attrgetter("line"))
        return self._rows

    def _shrink(self) -> None:
        """Keep the lower lines, half of the bytes that fit: so that shrinking stays rare."""
        kept_bytes = 0
        for kept, row in enumerate(self.sorted(), start=1):
            kept_bytes += len(row.text) + _ROW_BYTES
            if kept_bytes >= self._limit_bytes // 2:
                self.last_line = row.line
                self._bytes = kept_bytes
                del self._rows[kept:]
                return
