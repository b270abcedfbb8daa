"""From a failed gRPC call to the error that a caller gets: one table, and the details of google.rpc."""

from typing import Final, Protocol, runtime_checkable

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

from lorax_batch_client import errors
from lorax_batch_client.errors import ClientError, ErrorFacts, FieldViolation
from lorax_batch_client.tls_trouble import tls_cause

DETAILS_KEY: Final = "grpc-status-details-bin"

ERRORS_BY_CODE: Final[dict[grpc.StatusCode, type[ClientError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPreconditionError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.TimedOutError,
    grpc.StatusCode.ABORTED: errors.AbortedError,
    grpc.StatusCode.DATA_LOSS: errors.ChecksumMismatchError,
    grpc.StatusCode.UNIMPLEMENTED: errors.NotOfferedError,
}
# gRPC itself ends a stream with one of these when its connection is reset; the service gives a reason with its own.
BROKEN_STREAM_CODES: Final = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED}


@runtime_checkable
class FailedCall(Protocol):
    """What the errors of grpc and of grpc.aio have in common."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> object: ...


def error_from_rpc(error: grpc.RpcError, target: str) -> ClientError:
    """Return what to raise for a failed call to the service at `target`."""
    if not isinstance(error, FailedCall):
        return errors.ServiceError(f"the call to {target} failed: {error}")
    code, text = error.code(), error.details() or ""
    facts = _read_facts(code, error.trailing_metadata())
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.UnavailableError(_unavailable_message(target, text, facts), facts, target=target)
    if facts.reason == "SEQUENCE_TOO_OLD":
        return errors.SequenceTooOldError(text, facts)
    if code in BROKEN_STREAM_CODES and not facts.reason:
        return errors.BrokenStreamError(f"the connection to {target} broke: {text or code.name}", facts)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.TimedOutError(f"the service at {target} did not answer in time", facts)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        message = f"the service at {target} does not offer this call ({text}): is it an older lorax-batch?"
        return errors.NotOfferedError(message, facts)
    kind = ERRORS_BY_CODE.get(code, errors.ServiceError)
    return kind(_with_violations(text or code.name, facts.violations), facts)


def _unavailable_message(target: str, text: str, facts: ErrorFacts) -> str:
    if facts.reason:
        return f"the service at {target} is not available: {text}"
    tls = tls_cause(text)
    if tls is not None:
        return f"can't reach the lorax-batch service at {target}: {tls}"
    # gRPC wraps the one useful part ("Connection refused (111)") in three layers of its own.
    cause = text.rsplit(": ", 1)[-1] if text else "no answer"
    return f"can't reach the lorax-batch service at {target}: {cause}"


def _with_violations(text: str, violations: tuple[FieldViolation, ...]) -> str:
    """Return the message with every violation that it does not already tell."""
    missing = [f"{one.field}: {one.message}" for one in violations if one.message not in text]
    return "; ".join([text, *missing])


def _read_facts(code: grpc.StatusCode, trailing_metadata: object) -> ErrorFacts:
    reason, metadata, violations, retry_after = "", {}, [], None
    for detail in _read_details(trailing_metadata):
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        precondition, retry = error_details_pb2.PreconditionFailure(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            violations += [
                FieldViolation(field=one.field, message=one.description) for one in bad_request.field_violations
            ]
        elif detail.Unpack(precondition):
            violations += [
                FieldViolation(field=one.subject, message=one.description) for one in precondition.violations
            ]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
    return ErrorFacts(
        code=code, reason=reason, metadata=metadata, violations=tuple(violations), retry_after=retry_after
    )


def _read_details(trailing_metadata: object) -> list[Any]:
    for key, value in trailing_metadata or ():  # type: ignore[attr-defined]  # pairs, in both flavours of grpc
        if key == DETAILS_KEY:
            return list(status_pb2.Status.FromString(value).details)
    return []
