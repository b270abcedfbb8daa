"""Checks requests for results; pure."""

from dataclasses import dataclass
from typing import Final

from lorax_batch.v1 import batch_inference_pb2 as pb

from lorax_batch_server.checks import Checks

_ERROR_OF_KIND: Final = {
    pb.RESULT_KIND_UNSPECIFIED: None,
    pb.RESULT_KIND_OUTPUT: False,
    pb.RESULT_KIND_ERROR: True,
}
_ORDERS: Final = (pb.RESULT_ORDER_UNSPECIFIED, pb.RESULT_ORDER_COMPLETION, pb.RESULT_ORDER_INPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOrder:
    """A checked StreamResultsRequest."""

    after: int
    """The last row the caller has; -1: none."""
    follow: bool
    error: bool | None
    """Only rows of the error file (True) or of the output file (False)."""
    by_input: bool


def check_stream(request: pb.StreamResultsRequest) -> StreamOrder:
    """Return what a request asks for. Raises `InvalidRequestError`."""
    checks = Checks()
    after = request.after_offset if request.HasField("after_offset") else -1
    if after < -1:
        checks.fail("after_offset", f"{after} is not an offset: they begin at 0; leave it unset for all rows")
    if request.only not in _ERROR_OF_KIND:
        checks.fail("only", f"{request.only} is not a kind of result")
    if request.order not in _ORDERS:
        checks.fail("order", f"{request.order} is not an order of results")
    checks.done()
    return StreamOrder(
        after=after,
        follow=request.follow,
        error=_ERROR_OF_KIND[request.only],
        by_input=request.order == pb.RESULT_ORDER_INPUT,
    )


def check_download(request: pb.DownloadResultsRequest) -> bool:
    """Return whether the error file is asked for. Raises `InvalidRequestError`."""
    checks = Checks()
    error = error_of_kind(checks, request.kind)
    if request.offset < 0:
        checks.fail("offset", f"{request.offset} is negative: bytes are counted from 0")
    checks.done()
    return error


def error_of_kind(checks: Checks, kind: pb.ResultKind.ValueType) -> bool:
    """Return whether the error file is asked for; the output file when nothing is said."""
    if kind not in _ERROR_OF_KIND:
        checks.fail("kind", f"{kind} is not a kind of result")
    return _ERROR_OF_KIND.get(kind) is True
