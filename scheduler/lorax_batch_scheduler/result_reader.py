"""Committed result rows, wherever they are: segments in PostgreSQL, or ranges of the files of an ended job."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lorax_batch_scheduler.errors import ObjectNotFoundError
from lorax_batch_scheduler.object_names import output_key
from lorax_batch_scheduler.ports import JobStore, ObjectStore, ResultSource, StoredSegment


class ResultReader:
    """Reads like the store it is given, and fetches the bytes of ranges: neighbours in one read.

    Raises `NotFoundError` when the job was deleted meanwhile, `ObjectNotFoundError` when less is left of its files than
    was written.
    """

    def __init__(self, results: ResultSource, jobs: JobStore, objects: ObjectStore) -> None:
        self._results = results
        self._jobs = jobs
        self._objects = objects

    async def segments(
        self, job_id: str, *, first_offset: int, error: bool | None, max_bytes: int
    ) -> list[StoredSegment]:
        """See `ResultSource.segments`."""
        found = await self._results.segments(job_id, first_offset=first_offset, error=error, max_bytes=max_bytes)
        return await self._with_bytes(job_id, found)

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
        """See `ResultSource.segments_of_lines`."""
        found = await self._results.segments_of_lines(
            job_id,
            first_line=first_line,
            last_line=last_line,
            error=error,
            first_offset=first_offset,
            max_bytes=max_bytes,
        )
        return await self._with_bytes(job_id, found)

    async def _with_bytes(self, job_id: str, found: list[StoredSegment]) -> list[StoredSegment]:
        """Fill ranges in; all of a page are ranges, or none is."""
        if not found or found[0].file_offset is None:
            return found
        filled: list[StoredSegment] = []
        try:
            for neighbours in _runs(found):
                filled += await self._read(job_id, neighbours)
        except ObjectNotFoundError:
            await self._jobs.get_job(job_id)  # nothing is lost when the job was deleted meanwhile
            raise
        return sorted(filled, key=lambda each: each.first_offset)

    async def _read(self, job_id: str, neighbours: Sequence[StoredSegment]) -> list[StoredSegment]:
        key = output_key(job_id, error=neighbours[0].error)
        begin, end = _begin(neighbours[0]), _end(neighbours[-1])
        text = await self._objects.get(key, offset=begin, length=end - begin)
        if len(text) != end - begin:
            raise ObjectNotFoundError(key)
        return [replace(each, blob=text[_begin(each) - begin : _end(each) - begin]) for each in neighbours]


def _runs(ranges: Sequence[StoredSegment]) -> Iterator[list[StoredSegment]]:
    """Yield those that stand one behind the other in one of the files."""
    for error in (False, True):
        run: list[StoredSegment] = []
        for each in ranges:
            if each.error != error:
                continue
            if run and _end(run[-1]) != _begin(each):
                yield run
                run = []
            run.append(each)
        if run:
            yield run


def _begin(of_file: StoredSegment) -> int:
    assert of_file.file_offset is not None, "a segment stands in no file"
    return of_file.file_offset


def _end(of_file: StoredSegment) -> int:
    return _begin(of_file) + of_file.byte_count
