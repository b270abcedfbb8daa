"""The place in a stream of result rows."""

import hashlib
from collections.abc import Iterable

from lorax_batch.v1.batch_inference_pb2 import ResultSummary, StreamResultsRequest, StreamResultsResponse

from lorax_batch_client.errors import ChecksumMismatchError, ClientError
from lorax_batch_client.result import ResultBlock, ResultKind, ResultOrder


class ResultCursor:
    """Goes on behind the last row, and checks what arrived against the summary."""

    def __init__(
        self, job_id: str, *, after_offset: int | None, follow: bool, only: ResultKind | None, order: ResultOrder
    ) -> None:
        self._request = StreamResultsRequest(
            job_id=job_id,
            after_offset=after_offset,
            follow=follow,
            order=order.to_proto(),
        )
        if only is not None:
            self._request.only = only.to_proto()
        self._has_summary = False
        self._start_stream()

    @property
    def is_complete(self) -> bool:
        return self._has_summary

    def request(self) -> StreamResultsRequest:
        # The summary is about the rows of its own stream.
        self._start_stream()
        return self._request

    def take(self, message: StreamResultsResponse) -> Iterable[ResultBlock]:
        kind = message.WhichOneof("part")
        if kind == "summary":
            self._check(message.summary)
            self._has_summary = True
        if kind != "rows":
            return ()
        rows = message.rows
        block = ResultBlock(
            kind=ResultKind.from_proto(rows.kind),
            first_offset=rows.first_offset,
            row_count=rows.row_count,
            lines=rows.lines,
        )
        self._sha256.update(block.lines)
        self._row_count += block.row_count
        self._request.after_offset = block.last_offset
        return (block,)

    def recover(self, error: ClientError) -> bool:  # nothing helps but trying again
        return False

    def _start_stream(self) -> None:
        self._sha256 = hashlib.sha256()
        self._row_count = 0

    def _check(self, summary: ResultSummary) -> None:
        job_id = self._request.job_id
        if summary.row_count != self._row_count:
            raise ChecksumMismatchError(
                f"results of '{job_id}': {self._row_count} rows arrived, but {summary.row_count} were sent"
            )
        actual = self._sha256.hexdigest()
        if summary.sha256 and summary.sha256 != actual:
            raise ChecksumMismatchError(
                f"results of '{job_id}': SHA-256 of what arrived is {actual}, not {summary.sha256}"
            )
