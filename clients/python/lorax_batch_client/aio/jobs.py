"""Calls about jobs."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Unpack

from lorax_batch.v1 import batch_inference_pb2, batch_inference_pb2_grpc

from lorax_batch_client.aio.connection import Connection
from lorax_batch_client.dataset import Dataset
from lorax_batch_client.errors import NotFoundError
from lorax_batch_client.event import JobDeleted, JobEvent
from lorax_batch_client.job import Job
from lorax_batch_client.job_filter import JobFilter
from lorax_batch_client.requests import create_job_request, make_request_id, update_job_request
from lorax_batch_client.server_config import ServerConfig, ServerConfigFields, server_config_from
from lorax_batch_client.watch_cursor import WatchCursor, WatchTarget, job_id_of


class JobCalls(Connection):
    """Jobs, from creation to deletion."""

    @property
    def _jobs(self) -> "batch_inference_pb2_grpc.BatchInferenceAsyncStub":
        return batch_inference_pb2_grpc.BatchInferenceStub(self._channel)

    async def create_job(
        self,
        dataset: Dataset | str,
        server_config: ServerConfig | None = None,
        *,
        priority: int = 0,
        deadline: datetime | timedelta | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
        validate_only: bool = False,
        error_threshold: float = 0.0,
        default_max_tokens: int = 0,
        **config: Unpack[ServerConfigFields],
    ) -> Job:
        """Create a job; the server configuration is one value, or its fields as keywords (`base_model="..."`).

        With the `request_id` of an earlier call the job of that call is returned.
        """
        request = create_job_request(
            dataset,
            server_config_from(server_config, config),
            priority=priority,
            deadline=deadline,
            labels=labels,
            request_id=request_id,
            validate_only=validate_only,
            error_threshold=error_threshold,
            default_max_tokens=default_max_tokens,
        )
        return Job.from_proto((await self._call(lambda: self._jobs.CreateJob, request)).job)

    async def get_job(self, job: Job | str) -> Job:
        """Return the job as it is now."""
        request = batch_inference_pb2.GetJobRequest(job_id=job_id_of(job))
        return Job.from_proto((await self._call(lambda: self._jobs.GetJob, request)).job)

    async def list_jobs(self, selection: JobFilter | None = None, *, page_size: int = 0) -> AsyncIterator[Job]:
        """Yield the selected jobs, newest first; further pages are asked for as they are needed."""
        request = batch_inference_pb2.ListJobsRequest(page_size=page_size)
        if selection is not None:
            request.filter.CopyFrom(selection.to_proto())
        while True:
            page = await self._call(lambda: self._jobs.ListJobs, request)
            for message in page.jobs:
                yield Job.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def update_job(
        self,
        job: Job | str,
        *,
        priority: int | None = None,
        deadline: datetime | timedelta | None = None,
        labels: Mapping[str, str] | None = None,
        clear_deadline: bool = False,
    ) -> Job:
        """Change what is given of a job that has not ended; `labels` replaces all of them."""
        request = update_job_request(
            job, priority=priority, deadline=deadline, labels=labels, clear_deadline=clear_deadline
        )
        return Job.from_proto((await self._call(lambda: self._jobs.UpdateJob, request)).job)

    async def cancel_job(self, job: Job | str, *, reason: str = "") -> Job:
        """Ask a job to stop; its finished rows are kept."""
        request = batch_inference_pb2.CancelJobRequest(job_id=job_id_of(job), reason=reason)
        return Job.from_proto((await self._call(lambda: self._jobs.CancelJob, request)).job)

    async def pause_job(self, job: Job | str) -> Job:
        """Send no more rows of a job; those in flight end and are kept."""
        request = batch_inference_pb2.PauseJobRequest(job_id=job_id_of(job))
        return Job.from_proto((await self._call(lambda: self._jobs.PauseJob, request)).job)

    async def resume_job(self, job: Job | str) -> Job:
        """Queue a paused job again."""
        request = batch_inference_pb2.ResumeJobRequest(job_id=job_id_of(job))
        return Job.from_proto((await self._call(lambda: self._jobs.ResumeJob, request)).job)

    async def retry_job(self, job: Job | str, *, request_id: str = "") -> Job:
        """Return a new job of the rows of an ended one that did not succeed."""
        request = batch_inference_pb2.RetryJobRequest(job_id=job_id_of(job), request_id=request_id or make_request_id())
        return Job.from_proto((await self._call(lambda: self._jobs.RetryJob, request)).job)

    async def delete_job(self, job: Job | str) -> None:
        """Delete an ended job with its results."""
        await self._call(lambda: self._jobs.DeleteJob, batch_inference_pb2.DeleteJobRequest(job_id=job_id_of(job)))

    def watch(self, target: WatchTarget = None, *, after_sequence: int | None = None) -> AsyncIterator[JobEvent]:
        """Yield what happens to a job, several jobs, the jobs of a filter, or all jobs.

        Begins with a snapshot of each, or behind `after_sequence`. Broken connections are made good without a gap or
        a repeated state change; after too long an interruption the watch begins anew with snapshots. A watch of named
        jobs ends when they have ended.
        """
        return self._read(lambda: self._jobs.WatchJobs, WatchCursor(target, after_sequence))

    async def wait(self, job: Job | str) -> Job:
        """Return the job once it has ended, however it ended."""
        async for event in self.watch(job):
            if isinstance(event, JobDeleted):
                raise NotFoundError(f"job '{event.job_id}' was deleted")
            if event.job.is_terminal:
                return event.job
        return await self.get_job(job)
