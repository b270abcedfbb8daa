"""Drops the segments of jobs whose files hold the same bytes: PostgreSQL keeps only where each row is."""

from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.errors import ObjectNotFoundError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import ResultFile
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.ports.retention_store import FinishedResults, RetentionStore

JOBS_AT_ONCE: Final = 20
SEGMENTS_AT_ONCE: Final = 200
"""Of all these jobs together; they are up to some 100 KB each."""

_log = structlog.get_logger()


class Compaction:
    """Takes one small step after the other."""

    def __init__(self, store: RetentionStore, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects

    async def step(self, kept: timedelta) -> tuple[int, bool]:
        """Drop some segments; return how many jobs have none any more, and whether more may be left.

        Raises `DatabaseError`, `ObjectStoreError`.
        """
        found = await self._store.jobs_to_compact(kept, limit=JOBS_AT_ONCE)
        finished, left = 0, SEGMENTS_AT_ONCE
        for job in found:
            if job.results_in == "SEGMENTS" and not await self._file(job):
                continue
            dropped = await self._drop(job.job_id, left)
            if dropped == left:
                return finished, True
            finished, left = finished + 1, left - dropped
        return finished, len(found) == JOBS_AT_ONCE

    @failpoint(after="compact.after_ranges")
    async def _file(self, job: FinishedResults) -> bool:
        """Have the job's results read from its files; not when they are not what they should be."""
        if all([await self._is_there(file) for file in (job.output_file, job.error_file)]) and (
            await self._store.write_ranges(job)
        ):
            return True
        _log.error("results_not_compacted", job_id=job.job_id)
        await self._store.keep_segments(job.job_id)
        return False

    @failpoint(after="compact.after_drop")
    async def _drop(self, job_id: str, limit: int) -> int:
        return await self._store.drop_segments(job_id, limit=limit)

    async def _is_there(self, file: ResultFile) -> bool:
        try:
            return (await self._objects.head(file.key)).size_bytes == file.byte_count
        except ObjectNotFoundError:
            return False
