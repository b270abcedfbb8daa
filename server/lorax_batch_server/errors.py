"""Errors that only the API knows; the others are the scheduler's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lorax_batch_scheduler.errors import LoraxBatchError, NotAllowedError, StateConflictError


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of a request."""

    field: str
    """A path as the contract spells it: `server_config.base_model`."""
    message: str


class InvalidRequestError(LoraxBatchError):
    """Some fields of a request are not acceptable; all of them are named."""

    reason = "INVALID_INPUT"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{violation.field}: {violation.message}" for violation in violations))
        self.violations = tuple(violations)


class MalformedRequestError(LoraxBatchError):
    """The bytes of a request are not the message that the call takes."""

    reason = "MALFORMED_REQUEST"


class DatasetInUseError(StateConflictError):
    """A job that has not ended uses the dataset."""

    reason = "DATASET_IN_USE"


class NoLinksError(StateConflictError):
    """Files are kept where there are no links to them."""

    reason = "NO_LINKS"


class UnauthenticatedError(LoraxBatchError):
    """Nobody knows who calls."""


class KeyMissingError(UnauthenticatedError):
    """The call has no key."""

    reason = "API_KEY_MISSING"


class KeyUnknownError(UnauthenticatedError):
    """The call has a key that this service has never given out: look for a typing error, or ask an operator for one."""

    reason = "API_KEY_UNKNOWN"


class KeyRevokedError(UnauthenticatedError):
    """The call's key was revoked."""

    reason = "API_KEY_REVOKED"

    def __init__(self, key_id: str, time: datetime) -> None:
        super().__init__(f"key '{key_id}' was revoked at {time.isoformat(timespec='seconds')}: ask an operator for one")


class TenantDisabledError(UnauthenticatedError):
    """The tenant of the call's key is disabled, or being deleted."""

    reason = "TENANT_DISABLED"

    def __init__(self, tenant: str) -> None:
        super().__init__(f"tenant '{tenant}' is disabled: ask an operator to enable it (`tenants update --enable`)")


class KeyExpiredError(UnauthenticatedError):
    """The call's key has expired."""

    reason = "API_KEY_EXPIRED"

    def __init__(self, key_id: str, time: datetime) -> None:
        super().__init__(f"key '{key_id}' expired at {time.isoformat(timespec='seconds')}: ask an operator for another")


class RoleTooLowError(NotAllowedError):
    """The call's key is good, but not for this call."""

    reason = "ROLE_TOO_LOW"

    def __init__(self, method: str, role: str, needed: str) -> None:
        super().__init__(f"{method} needs a key of the role {needed}, and this one has {role}")


class RateLimitedError(LoraxBatchError):
    """A tenant calls more often than it may."""

    reason = "RATE_LIMITED"

    def __init__(self, tenant: str, limit: float, retry_after_s: float) -> None:
        super().__init__(
            f"tenant '{tenant}' may make {limit:g} requests a second (quota requests_per_second): wait "
            f"{retry_after_s:.3f} s, or ask an operator for more"
        )
        self.tenant = tenant
        self.limit = limit
        self.retry_after_s = retry_after_s


class OutOfRangeError(LoraxBatchError):
    """An offset or sequence lies beyond what there is."""

    reason = "OUT_OF_RANGE"


class SequenceAheadError(LoraxBatchError):
    """A watch goes on behind a sequence that nothing has yet: it is of another history; watch anew from a snapshot."""

    reason = "SEQUENCE_TOO_OLD"

    def __init__(self, after: int, latest: int) -> None:
        super().__init__(f"after_sequence {after} is ahead of the latest, {latest}: watch anew without it")


class DataLostError(LoraxBatchError):
    """Stored bytes are missing; the operator must look."""

    reason = "DATA_LOSS"


class IdleError(LoraxBatchError):
    """A caller that streams to us sends nothing any more."""

    reason = "IDLE"


class StoppingError(LoraxBatchError):
    """The service is shutting down; reconnect, here or at another replica."""

    reason = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__(
            "the service is shutting down: reconnect with the last sequence or offset, here or at another replica"
        )
