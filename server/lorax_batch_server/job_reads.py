"""What callers poll: one job, or a page of them, read once for all who ask at the same time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from lorax_batch_scheduler.errors import LoraxBatchError, NotFoundError
from lorax_batch_scheduler.job import Job, JobFilter
from lorax_batch_scheduler.ports import JobStore, Page

from lorax_batch_server.shared_reads import SharedReads


class _PageKey(NamedTuple):
    where: bytes
    page_size: int
    page_token: str


class JobReads:
    """Jobs as they are at the time of the call."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._by_id = SharedReads[str, Job](self._read_jobs)
        self._pages = SharedReads[_PageKey, Page[Job] | LoraxBatchError](self._read_pages)

    async def job(self, job_id: str) -> Job:
        """Return a job. Raises `NotFoundError`."""
        job = await self._by_id.get(job_id)
        if job is None:
            raise NotFoundError("job", job_id)
        return job

    async def page(self, where: JobFilter, *, page_size: int, page_token: str) -> Page[Job]:
        """Return jobs, newest first. Raises `InvalidInputError` for a token that is not ours."""
        page = await self._pages.get(_PageKey(msgspec.json.encode(where), page_size, page_token))
        assert page is not None
        if isinstance(page, LoraxBatchError):
            raise page
        return page

    async def _read_jobs(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        return {job.job_id: job for job in await self._jobs.get_jobs(job_ids)}

    async def _read_pages(self, keys: Sequence[_PageKey]) -> Mapping[_PageKey, Page[Job] | LoraxBatchError]:
        return {key: await self._read_page(key) for key in keys}

    async def _read_page(self, key: _PageKey) -> Page[Job] | LoraxBatchError:
        where = msgspec.json.decode(key.where, type=JobFilter)
        try:
            return await self._jobs.list_jobs(where, page_size=key.page_size, page_token=key.page_token)
        except LoraxBatchError as error:
            return error  # of this page; the others are read all the same
