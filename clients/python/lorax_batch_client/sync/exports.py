"""Calls about exports and links."""

from datetime import timedelta

from lorax_batch.v1 import exports_pb2, exports_pb2_grpc

from lorax_batch_client.errors import ClientError
from lorax_batch_client.export import DownloadLink, Export, export_id_of, link_request
from lorax_batch_client.job import Job
from lorax_batch_client.requests import make_request_id
from lorax_batch_client.result import ResultKind
from lorax_batch_client.sync.connection import Connection
from lorax_batch_client.watch_cursor import job_id_of


class ExportCalls(Connection):
    """A job's files in the caller's own bucket, and links to them."""

    @property
    def _exports(self) -> exports_pb2_grpc.ExportsStub:
        return exports_pb2_grpc.ExportsStub(self._channel)

    def download_link(
        self, job: Job | str, kind: ResultKind = ResultKind.OUTPUT, *, lifetime: timedelta | None = None
    ) -> DownloadLink:
        """Return a link to a file of an ended job, for plain HTTP; the service must keep its files in S3."""
        request = link_request(job, kind, lifetime)
        return DownloadLink.from_proto(self._call(lambda: self._exports.CreateDownloadLink, request))

    def export_results(self, job: Job | str, destination: str, *, request_id: str = "") -> Export:
        """Have both files of a job written to `s3://BUCKET/PREFIX`, once it has ended."""
        request = exports_pb2.CreateExportRequest(
            job_id=job_id_of(job), destination=destination, request_id=request_id or make_request_id()
        )
        return Export.from_proto(self._call(lambda: self._exports.CreateExport, request).export)

    def get_export(self, export: Export | str) -> Export:
        """Return the export as it is now."""
        request = exports_pb2.GetExportRequest(export_id=export_id_of(export))
        return Export.from_proto(self._call(lambda: self._exports.GetExport, request).export)

    def list_exports(self, job: Job | str) -> list[Export]:
        """Return the exports of a job, newest first."""
        request = exports_pb2.ListExportsRequest(job_id=job_id_of(job))
        answer = self._call(lambda: self._exports.ListExports, request)
        return [Export.from_proto(message) for message in answer.exports]

    def wait_for_export(self, export: Export | str, *, poll_seconds: float = 0.5) -> Export:
        """Return the export once it is DONE or FAILED."""
        patience = self._patience()
        while True:
            try:
                found = self.get_export(export)
                patience.reset()
                if found.state.is_terminal:
                    return found
                delay = poll_seconds
            except ClientError as error:
                delay = patience.delay_after(error)
            self._sleep(delay)
