"""Writes the output or the error file of a job: its segments in order, as one object, resumable."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from lorax_batch_scheduler.errors import ObjectNotFoundError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import ResultFile
from lorax_batch_scheduler.object_names import output_key
from lorax_batch_scheduler.ports.object_store import ObjectStore, UploadedPart
from lorax_batch_scheduler.ports.result_store import OutputProgress, ResultStore, StoredSegment
from lorax_batch_scheduler.segment import decode_segment

PART_BYTES: Final = 8 << 20
READ_BYTES: Final = 512 << 10


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
        try:
            return await self._write()
        except ObjectNotFoundError:
            if await self._results.output_progress(self._job_id, error=self._error) is None:
                raise
            # The upload is gone: a lifecycle rule, an operator, or another finaliser that completed it. Begin anew.
            await self._results.forget_output_progress(self._job_id, error=self._error)
            return await self._write()

    async def _write(self) -> ResultFile:
        checksum = hashlib.sha256()
        self._row_count = byte_count = number = 0
        progress: OutputProgress | None = None
        async for number, part, last in self._parts():
            await asyncio.to_thread(checksum.update, part)
            byte_count += len(part)
            if last and number == 1:
                await self._put(part)
                break
            progress = progress or await self._progress()
            if number > len(progress.parts):
                progress.parts.append(await self._send(progress.upload_id, number, part))
                await self._save(progress)
            if last:
                await self._complete(progress)
        return ResultFile(key=self._key, row_count=self._row_count, byte_count=byte_count, sha256=checksum.hexdigest())

    async def _progress(self) -> OutputProgress:
        """Return where an earlier life stopped, or a new upload."""
        progress = await self._results.output_progress(self._job_id, error=self._error)
        if progress is None:
            await self._abort_nameless()
            progress = OutputProgress(key=self._key, upload_id=await self._start(), parts=[])
            await self._save(progress)
        return progress

    async def _abort_nameless(self) -> None:
        """Throw away what a life began that died before it could say so; nobody else writes this file now."""
        for upload in await self._objects.unfinished_uploads(self._key):
            await self._objects.abort_upload(upload.key, upload.upload_id)

    @failpoint(before="finalise.before_put", after="finalise.after_put")
    async def _put(self, data: bytes) -> None:
        await self._objects.put(self._key, data)

    @failpoint(before="finalise.before_upload", after="finalise.after_upload_started")
    async def _start(self) -> str:
        return await self._objects.start_upload(self._key)

    @failpoint(before="finalise.before_part", after="finalise.after_part")
    async def _send(self, upload_id: str, number: int, part: bytes) -> UploadedPart:
        return await self._objects.upload_part(self._key, upload_id, number, part)

    @failpoint(after="finalise.after_part_saved")
    async def _save(self, progress: OutputProgress) -> None:
        await self._results.save_output_progress(self._job_id, error=self._error, progress=progress)

    @failpoint(before="finalise.before_complete", after="finalise.after_complete")
    async def _complete(self, progress: OutputProgress) -> None:
        await self._objects.complete_upload(self._key, progress.upload_id, progress.parts)

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
