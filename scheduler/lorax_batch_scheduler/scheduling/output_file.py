"""Writes the output or the error file of a job: its segments in order, as one object, resumable."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from lorax_batch_scheduler.errors import ObjectNotFoundError
from lorax_batch_scheduler.job import ResultFile
from lorax_batch_scheduler.ports.object_store import ObjectStore
from lorax_batch_scheduler.ports.result_store import OutputProgress, ResultStore, StoredSegment
from lorax_batch_scheduler.segment import decode_segment

PART_BYTES: Final = 8 << 20
READ_BYTES: Final = 2 << 20


def output_key(job_id: str, *, error: bool) -> str:
    """Return the key of a job's file."""
    return f"{results_prefix(job_id)}{'errors' if error else 'output'}.jsonl"


def results_prefix(job_id: str) -> str:
    """Return what the keys of all objects of a job begin with."""
    return f"results/{job_id}/"


class OutputFile:
    """One file of one job.

    Segments never change, so the file's bytes and the borders of its parts are always the same: writing it again after
    a crash reads them again for the checksum, and sends only the parts that are not recorded yet.
    """

    def __init__(self, results: ResultStore, objects: ObjectStore, job_id: str, *, error: bool) -> None:
        self._results = results
        self._objects = objects
        self._job_id = job_id
        self._error = error
        self._key = output_key(job_id, error=error)
        self._row_count = 0

    async def write(self) -> ResultFile:
        """Return the finished file."""
        checksum = hashlib.sha256()
        byte_count = number = 0
        progress: OutputProgress | None = None
        async for number, part, last in self._parts():
            await asyncio.to_thread(checksum.update, part)
            byte_count += len(part)
            if last and number == 1:
                await self._objects.put(self._key, part)
                break
            progress = progress or await self._progress()
            if number > len(progress.parts):
                progress.parts.append(await self._objects.upload_part(self._key, progress.upload_id, number, part))
                await self._results.save_output_progress(self._job_id, error=self._error, progress=progress)
            if last:
                await self._complete(progress)
        return ResultFile(key=self._key, row_count=self._row_count, byte_count=byte_count, sha256=checksum.hexdigest())

    async def _progress(self) -> OutputProgress:
        """Return where an earlier life stopped, or a new upload."""
        progress = await self._results.output_progress(self._job_id, error=self._error)
        if progress is None:
            upload_id = await self._objects.start_upload(self._key)
            progress = OutputProgress(key=self._key, upload_id=upload_id, parts=[])
            await self._results.save_output_progress(self._job_id, error=self._error, progress=progress)
        return progress

    async def _complete(self, progress: OutputProgress) -> None:
        try:
            await self._objects.complete_upload(self._key, progress.upload_id, progress.parts)
        except ObjectNotFoundError:
            # The store dropped the upload (a lifecycle rule, an operator): forget it, so that the next try starts anew.
            upload_id = await self._objects.start_upload(self._key)
            anew = OutputProgress(key=self._key, upload_id=upload_id, parts=[])
            await self._results.save_output_progress(self._job_id, error=self._error, progress=anew)
            raise

    async def _parts(self) -> AsyncIterator[tuple[int, bytes, bool]]:
        """Yield (number, bytes, whether it is the last): at least one part, all but the last of `PART_BYTES`."""
        number, gathered = 1, bytearray()
        async for text in self._texts():
            gathered += text
            while len(gathered) > PART_BYTES:
                yield number, bytes(gathered[:PART_BYTES]), False
                del gathered[:PART_BYTES]
                number += 1
        yield number, bytes(gathered), True

    async def _texts(self) -> AsyncIterator[bytes]:
        offset = 0
        while True:
            segments = await self._results.segments(
                self._job_id, first_offset=offset, error=self._error, max_bytes=READ_BYTES
            )
            if not segments:
                return
            yield await asyncio.to_thread(_join, segments)
            self._row_count += sum(segment.row_count for segment in segments)
            offset = segments[-1].first_offset + segments[-1].row_count


def _join(segments: list[StoredSegment]) -> bytes:
    return b"".join(decode_segment(segment.blob).text for segment in segments)
