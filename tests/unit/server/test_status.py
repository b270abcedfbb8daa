"""The table of errors and status codes."""

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from lorax_batch_scheduler import errors as scheduler_errors
from lorax_batch_scheduler.errors import (
    InvalidInputError,
    LoraxBatchError,
    ObjectStoreError,
    OffsetMismatchError,
    StateConflictError,
)
from lorax_batch_server import errors as server_errors
from lorax_batch_server.errors import InvalidRequestError, Violation
from lorax_batch_server.status import DETAILS_KEY, error_status

NEVER_TOLD = {"ConfigurationError", "FleetError", "LoraxBatchError", "ServerUnreachableError", "SlotOccupiedError"}
"""Raised where no caller waits: at the start, and between scheduler and servers."""


def test_every_error_of_ours_has_a_code() -> None:
    kinds = {
        kind
        for module in (scheduler_errors, server_errors)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, LoraxBatchError) and kind.__name__ not in NEVER_TOLD
    }
    assert len(kinds) > 15
    for kind in kinds:
        error = kind.__new__(kind)
        vars(error).update(field="", message="", kind="", name="", current="", expected="", stored=0, retryable=True)
        vars(error).update(violations=(), tenant="", quota="", limit=1, used=1, retry_after_s=1.0)
        assert error_status(error).code is not grpc.StatusCode.INTERNAL, kind


def details(error: Exception) -> list[object]:
    ((key, raw),) = error_status(error).trailing_metadata
    assert key == DETAILS_KEY
    kinds = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.RetryInfo,
    )
    found: list[object] = []
    for packed in status_pb2.Status.FromString(raw).details:
        message = next(kind() for kind in kinds if packed.Is(kind.DESCRIPTOR))
        packed.Unpack(message)
        found.append(message)
    return found


def test_a_violation_names_its_field() -> None:
    info, bad = details(InvalidInputError("labels[a]", "is too long"))
    assert (info.reason, info.domain) == ("INVALID_INPUT", "lorax-batch")  # type: ignore[attr-defined]
    assert bad.field_violations[0].field == "labels[a]"  # type: ignore[attr-defined]


def test_a_conflict_names_what_is_in_the_way() -> None:
    info, failure = details(StateConflictError("job", "job_1", "PAUSED", "RUNNING"))
    assert dict(info.metadata) == {"current": "PAUSED", "expected": "RUNNING"}  # type: ignore[attr-defined]
    assert failure.violations[0].subject == "job/job_1"  # type: ignore[attr-defined]
    info, _ = details(OffsetMismatchError("ds_1", 5, 7))
    assert dict(info.metadata) == {"offset": "7"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [RuntimeError("/secret/path"), ObjectStoreError("bucket s3cret", retryable=False)])
def test_the_unexpected_tells_nothing(error: Exception) -> None:
    status = error_status(error)
    assert (status.code, status.unexpected) == (grpc.StatusCode.INTERNAL, True)
    assert "cret" not in status.message + repr(status.details)


def test_many_long_violations_fit_into_a_trailer() -> None:
    status = error_status(InvalidRequestError([Violation("f" * 500, "é" * 5_000)] * 500))
    ((_, raw),) = status.trailing_metadata
    # Base64 in one trailer; the message, every byte of it escaped, in another.
    assert len(raw) * 4 / 3 + 3 * len(status.message.encode()) < 8_000
