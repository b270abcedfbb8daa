"""One upload: the messages to send from any offset on; decides without I/O on the network."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from lorax_batch.v1 import dataset_pb2
from lorax_batch.v1.datasets_pb2 import (
    GetUploadStatusRequest,
    GetUploadStatusResponse,
    UploadDatasetRequest,
    UploadFinish,
    UploadStart,
)

from lorax_batch_client.dataset import Dataset, DatasetState, OnInvalid
from lorax_batch_client.errors import BrokenStreamError, ClientError, FailedPreconditionError, SourceChangedError
from lorax_batch_client.retry_policy import Patience
from lorax_batch_client.upload_source import UploadSource

MESSAGE_BYTES: Final = 1 << 20

UploadProgress = Callable[[int, int], object]
"""Called with the bytes sent so far and the bytes in all; perhaps on another thread."""


class Upload:
    """What is known of an upload: its dataset once there is one, and how far it is stored."""

    def __init__(
        self,
        source: UploadSource,
        *,
        name: str,
        on_invalid: OnInvalid,
        request_id: str,
        progress: UploadProgress | None,
    ) -> None:
        self.failure: Exception | None = None
        """What went wrong on this side while messages were made."""
        self._source = source
        self._name = name or source.name
        self._on_invalid = on_invalid
        self._request_id = request_id
        self._progress = progress
        self._dataset_id = ""
        self._stored_bytes = 0

    def status_request(self) -> GetUploadStatusRequest:
        """Return the question how far the upload is stored."""
        if self._dataset_id:
            return GetUploadStatusRequest(dataset_id=self._dataset_id)
        return GetUploadStatusRequest(request_id=self._request_id)

    def note_status(self, status: GetUploadStatusResponse, patience: Patience) -> bool:
        """Go on from what is stored; return whether bytes are still missing."""
        patience.note_contact()
        if status.stored_bytes > self._stored_bytes:
            patience.reset()
        self._dataset_id = status.dataset_id
        self._stored_bytes = status.stored_bytes
        return status.state == dataset_pb2.DATASET_STATE_UPLOADING

    def note_error(self, error: ClientError) -> ClientError:
        """Return the error as the upload sees it: a wrong offset is cured by asking for the stored one."""
        if isinstance(error, FailedPreconditionError) and error.reason == "OFFSET_MISMATCH":
            return BrokenStreamError(error.message, error.facts)
        return error

    def check_answer(self, dataset: Dataset) -> Dataset:
        """Return the dataset of an answer, unless bytes are missing: then the stream was cut on its way."""
        if dataset.state is DatasetState.UPLOADING:
            raise BrokenStreamError(f"the upload of '{dataset.dataset_id}' ended before its last byte")
        return dataset

    def messages(self, patience: Patience) -> Iterator[UploadDatasetRequest]:
        """Yield all messages from the stored offset on.

        gRPC turns what an iterator raises into an error without a cause, so it is kept in `failure`.
        """
        try:
            yield from self._make_messages(patience)
        except Exception as error:
            self.failure = error
            raise

    def _make_messages(self, patience: Patience) -> Iterator[UploadDatasetRequest]:
        sha256 = self._hash_stored()
        yield UploadDatasetRequest(start=self._start())
        patience.note_contact()  # a message is only taken when there is a connection
        sent, total = self._stored_bytes, self._source.byte_count
        while sent < total:
            data = self._source.file.read(min(MESSAGE_BYTES, total - sent))
            if not data:
                raise self._changed(f"it ends after {sent} bytes")
            sha256.update(data)
            yield UploadDatasetRequest(data=data)
            sent += len(data)
            if self._progress is not None:
                self._progress(sent, total)
        yield UploadDatasetRequest(finish=UploadFinish(sha256=sha256.hexdigest()))

    def _start(self) -> UploadStart:
        if self._dataset_id:
            return UploadStart(dataset_id=self._dataset_id, offset=self._stored_bytes)
        return UploadStart(
            name=self._name,
            on_invalid=self._on_invalid.to_proto(),
            request_id=self._request_id,
            total_bytes=self._source.byte_count,
        )

    def _hash_stored(self) -> "hashlib._Hash":
        """Return the hash of what is stored already; the source then stands behind it."""
        if self._stored_bytes > self._source.byte_count:
            raise self._changed(f"{self._stored_bytes} bytes of it are stored already")
        sha256 = hashlib.sha256()
        self._source.seek(0)
        left = self._stored_bytes
        while left:
            data = self._source.file.read(min(MESSAGE_BYTES, left))
            if not data:
                raise self._changed(f"it ends {left} bytes before what is stored already")
            sha256.update(data)
            left -= len(data)
        return sha256

    def _changed(self, what: str) -> SourceChangedError:
        name, count = self._name or "the source", self._source.byte_count
        return SourceChangedError(f"'{name}' had {count} bytes when its upload began, but {what}: upload it anew")
