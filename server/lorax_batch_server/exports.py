"""The Exports service: links to finished files, and copies of them in callers' buckets."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import grpc
from lorax_batch.v1 import exports_pb2 as pb
from lorax_batch.v1 import exports_pb2_grpc
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import NotFoundError, StateConflictError
from lorax_batch_scheduler.export import Export, ExportState
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import Job, ResultFile
from lorax_batch_scheduler.ports import JobStore, ObjectStore
from lorax_batch_scheduler.ports.caller_buckets import CallerBuckets
from lorax_batch_scheduler.ports.export_store import ExportStore
from lorax_batch_scheduler.tenant import scoped_request_id

from lorax_batch_server.caller import current_caller
from lorax_batch_server.checks import MAX_REQUEST_ID_CHARACTERS, Checks, known_id
from lorax_batch_server.errors import NoLinksError
from lorax_batch_server.result_requests import error_of_kind
from lorax_batch_server.timestamps import timestamp
from lorax_batch_server.trace_metadata import caller_trace
from lorax_batch_server.translate_job import file_message

DEFAULT_LIFETIME: Final = timedelta(hours=1)
MAX_DESTINATION_CHARACTERS: Final = 1_200
LISTED: Final = 100
STATE_NUMBERS: Final[dict[ExportState, pb.ExportState.ValueType]] = {
    state: pb.ExportState.Value(f"EXPORT_STATE_{state.value}") for state in ExportState
}
_LONGEST_LIFETIME_S: Final = 7 * 86_400
_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportParts:
    """What the service is made of."""

    jobs: JobStore
    objects: ObjectStore
    exports: ExportStore
    buckets: CallerBuckets
    clock: Clock
    new_id: Callable[[], str]


class ExportsService(exports_pb2_grpc.ExportsServicer):
    """See the contract. Errors are raised as they are; the interceptor gives them their status."""

    def __init__(self, parts: ExportParts) -> None:
        self._parts = parts

    async def CreateDownloadLink(
        self, request: pb.CreateDownloadLinkRequest, context: _Context
    ) -> pb.CreateDownloadLinkResponse:
        lifetime, error = _check_link(request)
        job = await self._shown_job(request.job_id)
        file = _file_of(job, error=error)
        expires = self._parts.clock.now() + lifetime
        name = f"{job.job_id}-{'errors' if error else 'output'}.jsonl"
        url = await self._parts.objects.download_url(file.key, lifetime=lifetime, file_name=name)
        if url is None:
            raise NoLinksError(
                "job", job.job_id, "kept in a directory", "in S3", "stream its files, or run the service on S3"
            )
        return pb.CreateDownloadLinkResponse(url=url, expire_time=timestamp(expires), file=file_message(file))

    async def CreateExport(self, request: pb.CreateExportRequest, context: _Context) -> pb.CreateExportResponse:
        checks = Checks()
        checks.text("destination", request.destination, limit=MAX_DESTINATION_CHARACTERS, required=True)
        checks.text("request_id", request.request_id, limit=MAX_REQUEST_ID_CHARACTERS)
        checks.done()
        job = await self._shown_job(request.job_id)
        destination = self._parts.buckets.check_destination(request.destination, tenant=current_caller().sees)
        export = await self._create(job, destination, request.request_id, caller_trace(context))
        return pb.CreateExportResponse(export=_message(export))

    @failpoint(after="export.after_create")
    async def _create(self, job: Job, destination: str, request_id: str, traceparent: str) -> Export:
        return await self._parts.exports.create_export(
            self._parts.new_id(),
            job_id=job.job_id,
            destination=destination,
            request_id=scoped_request_id(job.tenant, request_id or None),
            traceparent=traceparent,
        )

    async def GetExport(self, request: pb.GetExportRequest, context: _Context) -> pb.GetExportResponse:
        export = await self._parts.exports.get_export(known_id("export", "export_id", request.export_id))
        if not current_caller().is_shown((await self._parts.jobs.get_job(export.job_id)).tenant):
            raise NotFoundError("export", export.export_id)
        return pb.GetExportResponse(export=_message(export))

    async def ListExports(self, request: pb.ListExportsRequest, context: _Context) -> pb.ListExportsResponse:
        job = await self._shown_job(request.job_id)
        found = await self._parts.exports.exports_of(job.job_id, limit=LISTED)
        return pb.ListExportsResponse(exports=[_message(export) for export in found])

    async def _shown_job(self, job_id: str) -> Job:
        """Return a job that the caller sees. Raises `NotFoundError`."""
        job = await self._parts.jobs.get_job(known_id("job", "job_id", job_id))
        if not current_caller().is_shown(job.tenant):
            raise NotFoundError("job", job_id)
        return job


def _check_link(request: pb.CreateDownloadLinkRequest) -> tuple[timedelta, bool]:
    """Return how long a link is to live, and whether it is of the error file. Raises `InvalidRequestError`."""
    checks = Checks()
    error = error_of_kind(checks, request.kind)
    seconds = request.lifetime.seconds if request.HasField("lifetime") else int(DEFAULT_LIFETIME.total_seconds())
    checks.number("lifetime", seconds, low=1, high=_LONGEST_LIFETIME_S)
    checks.done()
    return timedelta(seconds=seconds), error


def _file_of(job: Job, *, error: bool) -> ResultFile:
    """Return a finished file. Raises `StateConflictError` when there is none."""
    if not job.state.terminal:
        raise StateConflictError("job", job.job_id, job.state, "ended", "stream its results until then")
    file = job.error_file if error else job.output_file
    if file is None:
        raise StateConflictError("job", job.job_id, "without files", "one with files", "stream its results")
    return file


def _message(export: Export) -> pb.Export:
    return pb.Export(
        export_id=export.export_id,
        job_id=export.job_id,
        destination=export.destination,
        state=STATE_NUMBERS[export.state],
        reason=export.reason,
        written=export.progress.written,
        create_time=timestamp(export.create_time),
        end_time=timestamp(export.end_time),
    )
