"""Result rows and files as messages of the contract."""

from lorax_batch.v1 import batch_inference_pb2 as pb

from lorax_batch_server.download import FilePiece
from lorax_batch_server.result_stream import StreamSummary
from lorax_batch_server.row_packer import PackedRows
from lorax_batch_server.translate_job import STATE_NUMBERS, counts_message, file_message


def stream_response(part: PackedRows | StreamSummary) -> pb.StreamResultsResponse:
    """Return the message for rows, or for the end."""
    if isinstance(part, StreamSummary):
        summary = pb.ResultSummary(
            row_count=part.row_count,
            sha256=part.sha256,
            counts=counts_message(part.job.counts),
            state=STATE_NUMBERS[part.job.state],
            last_offset=part.last_offset,
        )
        return pb.StreamResultsResponse(summary=summary)
    rows = pb.ResultRows(
        lines=part.lines,
        kind=pb.RESULT_KIND_ERROR if part.error else pb.RESULT_KIND_OUTPUT,
        first_offset=part.first_offset,
        row_count=part.row_count,
    )
    return pb.StreamResultsResponse(rows=rows)


def download_response(piece: FilePiece) -> pb.DownloadResultsResponse:
    """Return the message for a piece of a file."""
    file = None if piece.file is None else file_message(piece.file)
    return pb.DownloadResultsResponse(data=piece.data, offset=piece.offset, file=file)
