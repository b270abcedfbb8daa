"""The BatchInference service: requests in, values of the contract out; what happens is in the modules it calls."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import batch_inference_pb2_grpc, job_pb2
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import NotFoundError, StateConflictError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import Job, JobEvent, JobState
from lorax_batch_scheduler.ports import JobStore, Page
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.retention.remains import Remains

from lorax_batch_server.caller import current_caller
from lorax_batch_server.checks import Checks, known_id
from lorax_batch_server.download import Download
from lorax_batch_server.input_order import InputOrder
from lorax_batch_server.job_intake import JobIntake
from lorax_batch_server.job_reads import JobReads
from lorax_batch_server.job_requests import (
    check_filter,
    check_reason,
    check_request_id,
    check_update,
    check_watch,
)
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.result_requests import check_download, check_stream
from lorax_batch_server.result_stream import ResultStream
from lorax_batch_server.shared_messages import SharedMessages
from lorax_batch_server.trace_metadata import caller_trace
from lorax_batch_server.translate_job import JobTranslator
from lorax_batch_server.translate_result import download_response, stream_response
from lorax_batch_server.translate_watch import WatchTranslator
from lorax_batch_server.watch import WatchHub

DEFAULT_PAGE_SIZE: Final = 50
_Context = grpc.aio.ServicerContext[Any, Any]
_RESUMED: Final = (JobState.QUEUED, JobState.STARTING, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParts:
    """What the service is made of."""

    jobs: JobStore
    catalogue: Catalogue
    intake: JobIntake
    hub: WatchHub
    results: ResultStream
    input_order: InputOrder
    download: Download
    removals: Removals
    remains: Remains
    translator: JobTranslator
    metrics: ApiMetrics
    clock: Clock
    new_id: Callable[[], str]


class BatchInferenceService(batch_inference_pb2_grpc.BatchInferenceServicer):
    """See the contract. Errors are raised as they are; the interceptor gives them their status."""

    def __init__(self, parts: JobParts) -> None:
        self._parts = parts
        self._jobs = parts.jobs
        self._reads = JobReads(parts.jobs)
        self._polled = SharedMessages()
        self._pages = SharedMessages(kept=4)  # of up to 1,000 jobs
        self._watched = WatchTranslator(parts.translator)

    async def CreateJob(self, request: pb.CreateJobRequest, context: _Context) -> pb.CreateJobResponse:
        return pb.CreateJobResponse(job=self._message(await self._parts.intake.create(request, caller_trace(context))))

    async def GetJob(self, request: pb.GetJobRequest, context: _Context) -> pb.GetJobResponse:
        return self._polled.of(await self._shown_job(request.job_id), self._job_response)

    async def ListJobs(self, request: pb.ListJobsRequest, context: _Context) -> pb.ListJobsResponse:
        checks = Checks()
        size = checks.page(request.page_size, request.page_token, default=DEFAULT_PAGE_SIZE)
        where = check_filter(checks, request.filter, catalogue=self._parts.catalogue, sees=current_caller().sees)
        checks.done()
        page = await self._reads.page(where, page_size=size, page_token=request.page_token)
        return self._pages.of(page, self._page_response)

    async def UpdateJob(self, request: pb.UpdateJobRequest, context: _Context) -> pb.UpdateJobResponse:
        update = check_update(request, now=self._parts.clock.now())
        job = await self._jobs.update_job(
            await self._job_id(update.job_id),
            priority=update.priority,
            deadline=update.deadline,
            clear_deadline=update.clear_deadline,
            labels=update.labels,
        )
        return pb.UpdateJobResponse(job=self._message(job))

    @failpoint(before="cancel.before_move", after="cancel.after_move")
    async def CancelJob(self, request: pb.CancelJobRequest, context: _Context) -> pb.CancelJobResponse:
        reason = check_reason(request.reason) or "cancelled by a caller"
        job = await self._move(
            request.job_id, JobEvent.CANCEL, reason, idempotent_in=(JobState.CANCELLING, JobState.CANCELLED)
        )
        return pb.CancelJobResponse(job=self._message(job))

    @failpoint(before="pause.before_move", after="pause.after_move")
    async def PauseJob(self, request: pb.PauseJobRequest, context: _Context) -> pb.PauseJobResponse:
        job = await self._move(request.job_id, JobEvent.PAUSE, "paused by a caller", idempotent_in=(JobState.PAUSED,))
        return pb.PauseJobResponse(job=self._message(job))

    @failpoint(before="resume.before_move", after="resume.after_move")
    async def ResumeJob(self, request: pb.ResumeJobRequest, context: _Context) -> pb.ResumeJobResponse:
        job = await self._move(request.job_id, JobEvent.RESUME, "resumed by a caller", idempotent_in=_RESUMED)
        return pb.ResumeJobResponse(job=self._message(job))

    @failpoint(before="retry.before_store", after="retry.after_store")
    async def RetryJob(self, request: pb.RetryJobRequest, context: _Context) -> pb.RetryJobResponse:
        request_id = check_request_id(request.request_id)
        tenant = current_caller().tenant
        job = await self._jobs.find_job_by_request(request_id, tenant=tenant) if request_id else None
        if job is None:
            job_id = await self._job_id(request.job_id)
            job = await self._jobs.retry_job(
                job_id, new_job_id=self._parts.new_id(), request_id=request_id, traceparent=caller_trace(context)
            )
        return pb.RetryJobResponse(job=self._message(job))

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: _Context) -> pb.DeleteJobResponse:
        job_id = await self._job_id(request.job_id)
        await self._delete(job_id)
        await self._parts.remains.of(job_id)
        await self._parts.removals.of(job_id)
        return pb.DeleteJobResponse()

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: _Context) -> AsyncIterator[pb.WatchJobsResponse]:
        where, after = check_watch(request, catalogue=self._parts.catalogue, sees=current_caller().sees)
        with self._parts.metrics.watcher():
            async for happening in self._parts.hub.watch(where, after):
                yield self._watched.response(happening, now=self._parts.clock.now())

    async def StreamResults(
        self, request: pb.StreamResultsRequest, context: _Context
    ) -> AsyncIterator[pb.StreamResultsResponse]:
        order = check_stream(request)
        job_id = await self._job_id(request.job_id)
        if order.by_input:
            stream = self._parts.input_order.rows(job_id, after=order.after, error=order.error)
        else:
            stream = self._parts.results.rows(job_id, after=order.after, follow=order.follow, error=order.error)
        async for part in stream:
            response = stream_response(part)
            self._parts.metrics.sent_results(len(response.rows.lines))
            yield response

    async def DownloadResults(
        self, request: pb.DownloadResultsRequest, context: _Context
    ) -> AsyncIterator[pb.DownloadResultsResponse]:
        error = check_download(request)
        job_id = await self._job_id(request.job_id)
        async for piece in self._parts.download.pieces(job_id, error=error, offset=request.offset):
            self._parts.metrics.sent_results(len(piece.data))
            yield download_response(piece)

    @failpoint(before="delete.before_rows", after="delete.after_rows")
    async def _delete(self, job_id: str) -> None:
        await self._jobs.delete_job(job_id)

    def _job_response(self, job: Job) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=self._message(job))

    def _page_response(self, page: Page[Job]) -> pb.ListJobsResponse:
        now = self._parts.clock.now()
        messages = [self._parts.translator.job(job, now=now, with_errors=False) for job in page.items]
        return pb.ListJobsResponse(jobs=messages, next_page_token=page.next_token)

    def _message(self, job: Job) -> job_pb2.Job:
        return self._parts.translator.job(job, now=self._parts.clock.now())

    async def _move(self, job_id: str, event: JobEvent, reason: str, *, idempotent_in: tuple[JobState, ...]) -> Job:
        """Move a job; one that is already where the caller wants it stays as it is."""
        job_id = await self._job_id(job_id)
        try:
            return await self._jobs.move_job(job_id, event, reason=reason)
        except StateConflictError:
            job = await self._jobs.get_job(job_id)
            if job.state in idempotent_in:
                return job
            raise

    async def _job_id(self, value: str) -> str:
        """Return an id that may be of a job which the caller sees. Raises `NotFoundError`."""
        if current_caller().sees is not None:
            await self._shown_job(value)
        return known_id("job", "job_id", value)

    async def _shown_job(self, job_id: str) -> Job:
        job = await self._reads.job(known_id("job", "job_id", job_id))
        if not current_caller().is_shown(job.tenant):
            raise NotFoundError("job", job_id)
        return job
