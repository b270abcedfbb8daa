"""Streams the result rows of a job in the order of their commit, while it runs or afterwards."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from lorax_batch_scheduler.job import Job
from lorax_batch_scheduler.ports import EventStore, JobStore, ResultSource, StoredSegment
from lorax_batch_scheduler.running.result_line import line_numbers
from lorax_batch_scheduler.segment import Segment, decode_segment

from lorax_batch_server.errors import OutOfRangeError
from lorax_batch_server.row_packer import PackedRows, RowPacker, skip_lines
from lorax_batch_server.stopping import Stopping

READ_BYTES: Final = 256 * 1024
"""Compressed bytes to ask the store for at once."""
THREAD_BYTES: Final = 512 * 1024
"""Segments from this size on are decompressed in a thread: 1 MiB takes about 2 ms, which others would wait for."""
FOLLOW_POLL_S: Final = 5.0
"""Looks for new rows this often even when nothing was notified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """What a stream has sent; its last message."""

    row_count: int
    sha256: str
    job: Job
    last_offset: int


class SentRows:
    """Counts and hashes what a stream sends."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._row_count = 0

    def note(self, rows: PackedRows) -> PackedRows:
        """Take a message into account."""
        self._hash.update(rows.lines)
        self._row_count += rows.row_count
        return rows

    def summary(self, job: Job, last_offset: int) -> StreamSummary:
        """Return the last message."""
        return StreamSummary(row_count=self._row_count, sha256=self._hash.hexdigest(), job=job, last_offset=last_offset)


async def read_text(stored: StoredSegment) -> bytes:
    """Return the rows of a segment or of a range, without holding the event loop up when they are large."""
    if stored.file_offset is not None:
        return stored.blob
    if stored.byte_count < THREAD_BYTES:
        return decode_segment(stored.blob).text
    return (await asyncio.to_thread(decode_segment, stored.blob)).text


async def read_segment(job_id: str, stored: StoredSegment) -> Segment:
    """Return the rows with their lines; those of a range are told from its text."""
    decode = decode_segment if stored.file_offset is None else partial(_read_lines, job_id.encode())
    if stored.byte_count < THREAD_BYTES:
        return decode(stored.blob)
    return await asyncio.to_thread(decode, stored.blob)


def _read_lines(job_id: bytes, text: bytes) -> Segment:
    return Segment(line_numbers(job_id, text), text)


class ResultStream:
    """Reads committed rows by their dense offsets."""

    def __init__(
        self,
        jobs: JobStore,
        results: ResultSource,
        events: EventStore,
        stopping: Stopping,
        *,
        follow_poll_s: float = FOLLOW_POLL_S,
    ) -> None:
        self._jobs = jobs
        self._results = results
        self._events = events
        self._stopping = stopping
        self._follow_poll_s = follow_poll_s

    async def rows(
        self, job_id: str, *, after: int, follow: bool, error: bool | None
    ) -> AsyncIterator[PackedRows | StreamSummary]:
        """Yield the rows behind an offset (-1: all) and at last the summary.

        Raises:
            NotFoundError: no such job, or it was deleted meanwhile.
            OutOfRangeError: the job has no row with that offset yet.
            StoppingError: the service shuts down.
        """
        wake = asyncio.Event()
        stop_listening = self._events.on_change(lambda changed: wake.set() if changed in {job_id, ""} else None)
        try:
            job = await self._jobs.get_job(job_id)
            if after >= job.counts.ended:
                raise OutOfRangeError(
                    f"after_offset {after} is beyond the last row: job '{job_id}' has {job.counts.ended} rows by now"
                )
            sent, position = SentRows(), after + 1
            while True:
                async for rows in self._committed(job_id, position, error):
                    position = rows.first_offset + rows.row_count
                    yield sent.note(rows)
                # All rows that this answer counts were committed before the read: also those left out are passed.
                position = max(position, job.counts.ended)
                if job.state.terminal or not follow:
                    # Of a job deleted meanwhile the last rows were missing: that is no end to confirm.
                    await self._jobs.get_job(job_id)
                    yield sent.summary(job, position - 1)
                    return
                await self._stopping.wait(wake, self._follow_poll_s)
                job = await self._jobs.get_job(job_id)
        finally:
            stop_listening()

    async def _committed(self, job_id: str, position: int, error: bool | None) -> AsyncIterator[PackedRows]:
        """Yield the rows from an offset on until there are no more."""
        packer = RowPacker()
        while True:
            self._stopping.check()
            segments = await self._results.segments(job_id, first_offset=position, error=error, max_bytes=READ_BYTES)
            if not segments:
                for rows in packer.flush():
                    yield rows
                return
            for stored in segments:
                text = await read_text(stored)
                first = max(position, stored.first_offset)
                if first > stored.first_offset:
                    text = skip_lines(text, first - stored.first_offset)
                position = stored.first_offset + stored.row_count
                for rows in packer.add(text, error=stored.error, first_offset=first, row_count=position - first):
                    yield rows
                    self._stopping.check()
