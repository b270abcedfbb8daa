"""What can go wrong for a caller of the service, split by what the caller does next.

Every message is fit to be shown to the person in front of the screen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

import grpc


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field of a request that the service did not accept."""

    field: str
    """As a path: `server_config.base_model`."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFacts:
    """What the service said about an error, for programs."""

    code: grpc.StatusCode | None = None
    """Unset: the error was found by the client itself."""
    reason: str = ""
    """Stable, in UPPER_SNAKE_CASE (`DATASET_IN_USE`); empty when the error does not come from the service."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None
    """When the service says that waiting helps, for how long."""


class ClientError(Exception):
    """A call to lorax-batch did not succeed."""

    transient: ClassVar[bool] = False
    """Whether the same call may succeed later without any change."""

    def __init__(self, message: str, facts: ErrorFacts | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts or ErrorFacts()

    @property
    def reason(self) -> str:
        """The service's stable reason, empty when it gave none."""
        return self.facts.reason


# --- fix the input -----------------------------------------------------------------------------------------------


class InvalidRequestError(ClientError):
    """A value of the request is not acceptable; `violations` names the fields."""

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The fields at fault, perhaps none."""
        return self.facts.violations


class PermissionDeniedError(ClientError):
    """The service does not allow this."""


class UnauthenticatedError(ClientError):
    """The service wants credentials, or does not accept those that were sent."""


class CertificateError(ClientError):
    """A certificate or key of the client can't be used; the message names the file, and what to change."""


class AmbiguousError(ClientError):
    """A name means several things that differ; the message lists them."""


class SourceChangedError(ClientError):
    """The file that is being uploaded changed under the upload."""


# --- it is gone, or in another state -----------------------------------------------------------------------------


class NotFoundError(ClientError):
    """No such job, dataset or file."""


class AlreadyExistsError(ClientError):
    """It is there already."""


class FailedPreconditionError(ClientError):
    """The thing is not in a state that allows the call; nothing was changed."""


class SequenceTooOldError(ClientError):
    """The events asked for are no longer kept; watch anew from a snapshot."""


# --- try again later ---------------------------------------------------------------------------------------------


class UnavailableError(ClientError):
    """The service can't be reached, or is shutting down."""

    transient = True

    def __init__(self, message: str, facts: ErrorFacts | None = None, *, target: str) -> None:
        super().__init__(message, facts)
        self.target = target


class BrokenStreamError(ClientError):
    """The connection broke in the middle of an answer."""

    transient = True


class AbortedError(ClientError):
    """Somebody else is doing this right now."""

    transient = True


class ResourceExhaustedError(ClientError):
    """A limit is reached; with `facts.retry_after` only for now.

    Its `reason` is QUOTA_EXCEEDED when the tenant has used up what it may use (`facts.metadata` has the quota), and
    RATE_LIMITED when it only calls too often.
    """

    @property
    def is_rate_limit(self) -> bool:
        """Whether waiting for `facts.retry_after` is all that it takes."""
        return self.reason == "RATE_LIMITED" and self.facts.retry_after is not None


class TimedOutError(ClientError):
    """The service did not answer in time; the call may or may not have had its effect."""


# --- give up -----------------------------------------------------------------------------------------------------


class ChecksumMismatchError(ClientError):
    """The bytes that arrived are not the bytes that were sent."""


class NotOfferedError(ClientError):
    """The service does not know this call: it is older than the client, or something else."""


class ServiceError(ClientError):
    """The service failed in a way it did not expect; its log says more."""
