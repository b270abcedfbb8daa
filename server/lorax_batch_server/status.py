"""The table that maps errors to gRPC status codes, with google.rpc details."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from lorax_batch_scheduler.errors import (
    AlreadyExistsError,
    BusyError,
    ChecksumMismatchError,
    DatabaseError,
    InvalidInputError,
    LoraxBatchError,
    NoSecretsKeyError,
    NotAllowedError,
    NotFoundError,
    ObjectNotFoundError,
    ObjectStoreError,
    OffsetMismatchError,
    QuotaExceededError,
    SecretUnreadableError,
    SequenceTooOldError,
    StateConflictError,
)
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.webhooks.webhook import TooManyWebhooksError

from lorax_batch_server.errors import (
    DataLostError,
    IdleError,
    InvalidRequestError,
    MalformedRequestError,
    OutOfRangeError,
    RateLimitedError,
    SequenceAheadError,
    StoppingError,
    UnauthenticatedError,
    Violation,
)

DOMAIN: Final = "lorax-batch"
DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailer that carries `google.rpc.Status`."""
MAX_MESSAGE_BYTES: Final = 600
MAX_VIOLATIONS_BYTES: Final = 2_400
"""Errors travel as HTTP/2 trailers, in Base64 and with the message once more; peers accept 8 KiB of them in all."""
_MAX_NAME_BYTES: Final = 120
_Code = grpc.StatusCode


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorStatus:
    """How an error is told to a caller."""

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...]
    unexpected: bool = False
    """Whether an operator must hear of it, since the caller is told nothing."""

    @property
    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The details as gRPC carries them."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return ((DETAILS_KEY, status.SerializeToString()),)


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: type[LoraxBatchError]
    code: grpc.StatusCode
    retry_after_s: float | None = None


_RULES: Final = (
    _Rule(InvalidRequestError, _Code.INVALID_ARGUMENT),
    _Rule(InvalidInputError, _Code.INVALID_ARGUMENT),
    _Rule(MalformedRequestError, _Code.INVALID_ARGUMENT),
    _Rule(UnauthenticatedError, _Code.UNAUTHENTICATED),
    _Rule(NotAllowedError, _Code.PERMISSION_DENIED),
    _Rule(NoSecretsKeyError, _Code.FAILED_PRECONDITION),
    _Rule(SecretUnreadableError, _Code.FAILED_PRECONDITION),
    _Rule(AlreadyExistsError, _Code.ALREADY_EXISTS),
    _Rule(RateLimitedError, _Code.RESOURCE_EXHAUSTED),
    _Rule(QuotaExceededError, _Code.RESOURCE_EXHAUSTED, retry_after_s=30),
    _Rule(TooManyWebhooksError, _Code.RESOURCE_EXHAUSTED),
    _Rule(NotFoundError, _Code.NOT_FOUND),
    _Rule(StateConflictError, _Code.FAILED_PRECONDITION),
    _Rule(OffsetMismatchError, _Code.FAILED_PRECONDITION),
    _Rule(ChecksumMismatchError, _Code.DATA_LOSS),
    _Rule(BusyError, _Code.ABORTED, retry_after_s=1),
    _Rule(SequenceTooOldError, _Code.OUT_OF_RANGE),
    _Rule(SequenceAheadError, _Code.OUT_OF_RANGE),
    _Rule(OutOfRangeError, _Code.OUT_OF_RANGE),
    _Rule(DataLostError, _Code.DATA_LOSS),
    _Rule(ObjectNotFoundError, _Code.DATA_LOSS),
    _Rule(IdleError, _Code.DEADLINE_EXCEEDED, retry_after_s=1),
    _Rule(StoppingError, _Code.UNAVAILABLE, retry_after_s=1),
    _Rule(DatabaseError, _Code.UNAVAILABLE, retry_after_s=2),
)
"""The first rule that fits wins. What none fits is INTERNAL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentedError:
    """What callers may meet, for the page that tells them."""

    code: grpc.StatusCode
    reason: str
    meaning: str
    details: tuple[str, ...]


def documented_errors() -> list[DocumentedError]:
    """Return all errors of the modules imported so far that calls may answer with, by code and reason."""
    rules = (*_RULES, _Rule(ObjectStoreError, _Code.UNAVAILABLE, retry_after_s=2))
    found = {(told.code.name, told.reason): told for kind in _kinds(LoraxBatchError) for told in _document(kind, rules)}
    found["INTERNAL", "INTERNAL"] = DocumentedError(
        code=_Code.INTERNAL,
        reason="INTERNAL",
        meaning="A mistake of the service, or a store that refuses it; the service's log has the cause.",
        details=(),
    )
    return [found[key] for key in sorted(found)]


def _kinds(kind: type[LoraxBatchError]) -> Iterator[type[LoraxBatchError]]:
    """Yield the subclasses of a class, deepest first: the general one of two with the same reason tells its meaning."""
    for below in sorted(kind.__subclasses__(), key=lambda each: each.__name__):
        yield from _kinds(below)
        yield below


def _document(kind: type[LoraxBatchError], rules: Sequence[_Rule]) -> Iterator[DocumentedError]:
    for rule in rules:
        if issubclass(kind, rule.kind):
            details = ["RetryInfo"] if rule.retry_after_s is not None else []
            details += [_DETAIL_NAMES[describe] for about, describe in _DESCRIPTIONS if issubclass(kind, about)]
            meaning = kind.__doc__ or ""
            yield DocumentedError(code=rule.code, reason=kind.reason, meaning=meaning, details=tuple(details))
            return


def error_status(error: Exception) -> ErrorStatus:
    """Return what a caller is told of an error: nothing of the inside when it is not one of ours."""
    if isinstance(error, ObjectStoreError):
        if not error.retryable:
            return _unexpected()
        return _expected(error, _Code.UNAVAILABLE, retry_after_s=2)
    for rule in _RULES:
        if isinstance(error, rule.kind):
            return _expected(error, rule.code, rule.retry_after_s)
    return _unexpected()


def _unexpected() -> ErrorStatus:
    return ErrorStatus(
        code=_Code.INTERNAL,
        message="internal error; the service's log has the cause",
        details=(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN),),
        unexpected=True,
    )


def _expected(error: LoraxBatchError, code: grpc.StatusCode, retry_after_s: float | None) -> ErrorStatus:
    message = _cut(str(error) or (error.__doc__ or ""), MAX_MESSAGE_BYTES)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_metadata(error))
    ]
    details.extend(describe(error) for kind, describe in _DESCRIPTIONS if isinstance(error, kind))
    if isinstance(error, RateLimitedError):
        retry_after_s = error.retry_after_s
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(math.ceil(retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return ErrorStatus(
        code=code,
        message=message,
        details=tuple(details),
        unexpected=isinstance(error, DataLostError | ObjectNotFoundError),
    )


def _metadata(error: LoraxBatchError) -> dict[str, str]:
    match error:
        case OffsetMismatchError():
            return {"offset": str(error.stored)}
        case QuotaExceededError():
            return {"tenant": error.tenant, "quota": error.quota, "limit": str(error.limit), "used": str(error.used)}
        case RateLimitedError():
            return {"tenant": error.tenant, "quota": "requests_per_second", "limit": f"{error.limit:g}"}
        case StateConflictError():
            return {"current": str(error.current), "expected": str(error.expected)}
        case _:
            return {}


def _describe_invalid(error: LoraxBatchError) -> Message:
    if isinstance(error, InvalidRequestError):
        violations: Sequence[Violation] = error.violations
    else:
        assert isinstance(error, InvalidInputError)
        violations = [Violation(error.field, error.message)]
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        told = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, _MAX_NAME_BYTES), description=_cut(violation.message, MAX_MESSAGE_BYTES)
        )
        if bad_request.field_violations and bad_request.ByteSize() + told.ByteSize() > MAX_VIOLATIONS_BYTES:
            break
        bad_request.field_violations.append(told)
    message: Message = bad_request
    return message


def _describe_conflict(error: LoraxBatchError) -> Message:
    subject = f"{error.kind}/{error.name}" if isinstance(error, StateConflictError) else "offset"
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason, subject=subject, description=_cut(str(error), MAX_MESSAGE_BYTES)
    )
    message: Message = error_details_pb2.PreconditionFailure(violations=[violation])
    return message


def _describe_missing(error: LoraxBatchError) -> Message:
    assert isinstance(error, NotFoundError)
    message: Message = error_details_pb2.ResourceInfo(
        resource_type=error.kind,
        resource_name=_cut(error.name, _MAX_NAME_BYTES),
        description=_cut(str(error), MAX_MESSAGE_BYTES),
    )
    return message


def _describe_quota(error: LoraxBatchError) -> Message:
    assert isinstance(error, QuotaExceededError | RateLimitedError)
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=f"tenant:{error.tenant}", description=_cut(str(error), MAX_MESSAGE_BYTES)
    )
    message: Message = error_details_pb2.QuotaFailure(violations=[violation])
    return message


_DESCRIPTIONS: Final[tuple[tuple[type[LoraxBatchError], Callable[[LoraxBatchError], Message]], ...]] = (
    (InvalidRequestError, _describe_invalid),
    (InvalidInputError, _describe_invalid),
    (StateConflictError, _describe_conflict),
    (OffsetMismatchError, _describe_conflict),
    (NotFoundError, _describe_missing),
    (QuotaExceededError, _describe_quota),
    (RateLimitedError, _describe_quota),
)

_DETAIL_NAMES: Final[dict[Callable[[LoraxBatchError], Message], str]] = {
    _describe_invalid: "BadRequest",
    _describe_conflict: "PreconditionFailure",
    _describe_missing: "ResourceInfo",
    _describe_quota: "QuotaFailure",
}


def _cut(text: str, limit_bytes: int) -> str:
    """Return what may be told of a text: no secrets, and so many bytes."""
    text = REDACTOR.clean(text)
    raw = text.encode()
    return text if len(raw) <= limit_bytes else raw[: limit_bytes - 3].decode(errors="ignore") + "..."
