"""The place in the download of a finished file."""

import hashlib
from collections.abc import Iterable

from lorax_batch.v1.batch_inference_pb2 import DownloadResultsRequest, DownloadResultsResponse

from lorax_batch_client.errors import ChecksumMismatchError, ClientError
from lorax_batch_client.job import ResultFile
from lorax_batch_client.result import ResultKind


class DownloadCursor:
    """Goes on behind the last byte, and checks the whole file when the last one has arrived."""

    def __init__(self, job_id: str, kind: ResultKind) -> None:
        self._job_id = job_id
        self._kind = kind
        self._received_bytes = 0
        self._sha256 = hashlib.sha256()
        self._file: ResultFile | None = None

    @property
    def is_complete(self) -> bool:
        return self._file is not None and self._received_bytes == self._file.byte_count

    @property
    def file(self) -> ResultFile:
        """What the service says the file is; only once a message has arrived."""
        if self._file is None:
            raise RuntimeError("nothing has been downloaded yet")
        return self._file

    def request(self) -> DownloadResultsRequest:
        return DownloadResultsRequest(job_id=self._job_id, kind=self._kind.to_proto(), offset=self._received_bytes)

    def take(self, message: DownloadResultsResponse) -> Iterable[bytes]:
        if message.HasField("file"):
            self._note_file(ResultFile.from_proto(message.file))
        if message.data and message.offset != self._received_bytes:
            raise ChecksumMismatchError(
                f"{self._name}: byte {message.offset} arrived where byte {self._received_bytes} was expected"
            )
        self._sha256.update(message.data)
        self._received_bytes += len(message.data)
        if self.is_complete and self._sha256.hexdigest() != self.file.sha256:
            raise ChecksumMismatchError(
                f"{self._name}: SHA-256 of what arrived is {self._sha256.hexdigest()}, not {self.file.sha256}"
            )
        return (message.data,) if message.data else ()

    def recover(self, error: ClientError) -> bool:  # nothing helps but trying again
        return False

    @property
    def _name(self) -> str:
        return f"{self._kind.value} file of '{self._job_id}'"

    def _note_file(self, file: ResultFile) -> None:
        if self._file is not None and self._file != file:
            raise ChecksumMismatchError(f"{self._name}: it changed while it was downloaded; download it again")
        self._file = file
