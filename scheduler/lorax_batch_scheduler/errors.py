"""Every error the scheduler raises, split by what the caller does next."""

from typing import ClassVar


class LoraxBatchError(Exception):
    """Something went wrong in lorax-batch."""

    reason: ClassVar[str] = "UNKNOWN"
    """A stable code for programs, in UPPER_SNAKE_CASE."""


# --- fix the input -----------------------------------------------------------------------------------------------


class InvalidInputError(LoraxBatchError):
    """A value that the caller gave is not acceptable."""

    reason = "INVALID_INPUT"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class NotAllowedError(LoraxBatchError):
    """What the caller asked for is not permitted here."""

    reason = "NOT_ALLOWED"


class NoSecretsKeyError(LoraxBatchError):
    """This service has no key to keep tokens with: its operator must set secrets_key_file; or leave the tokens out."""

    reason = "NO_SECRETS_KEY"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class SecretUnreadableError(LoraxBatchError):
    """A secret that is stored can't be opened here."""

    reason = "SECRET_UNREADABLE"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"the token in {place} can't be read: {why}")
        self.place = place


class AlreadyExistsError(LoraxBatchError):
    """There is one of that name already."""

    reason = "ALREADY_EXISTS"

    def __init__(self, kind: str, name: str, way_out: str = "") -> None:
        super().__init__(f"there is a {kind} '{name}' already" + (f": {way_out}" if way_out else ""))
        self.kind = kind
        self.name = name


class ConfigurationError(LoraxBatchError):
    """The service can't start as it is configured; the message says what to change."""

    reason = "CONFIGURATION"


# --- it is gone, or never was ------------------------------------------------------------------------------------


class NotFoundError(LoraxBatchError):
    """No such thing."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str, way_out: str = "") -> None:
        super().__init__(f"no {kind} '{name}'" + (f": {way_out}" if way_out else ""))
        self.kind = kind
        self.name = name


class ObjectNotFoundError(LoraxBatchError):
    """The object store holds no such object or upload."""

    reason = "OBJECT_NOT_FOUND"

    def __init__(self, key: str) -> None:
        super().__init__(f"no object '{key}'")
        self.key = key


# --- it is in another state than the call needs ------------------------------------------------------------------


class StateConflictError(LoraxBatchError):
    """The thing is not in a state that allows this; nothing was changed."""

    reason = "STATE_CONFLICT"

    def __init__(self, kind: str, name: str, current: str, expected: str, way_out: str = "") -> None:
        super().__init__(f"{kind} '{name}' is {current}, but must be {expected}" + (f": {way_out}" if way_out else ""))
        self.kind = kind
        self.name = name
        self.current = current
        self.expected = expected


class OffsetMismatchError(LoraxBatchError):
    """An upload was continued from another offset than is stored."""

    reason = "OFFSET_MISMATCH"

    def __init__(self, dataset_id: str, offset: int, stored: int) -> None:
        super().__init__(
            f"upload of '{dataset_id}' was continued at byte {offset}, but {stored} bytes are stored: go on there"
        )
        self.stored = stored


class ChecksumMismatchError(LoraxBatchError):
    """The bytes that arrived are not the bytes that were sent."""

    reason = "CHECKSUM_MISMATCH"

    def __init__(self, dataset_id: str, given: str, actual: str) -> None:
        super().__init__(f"upload of '{dataset_id}': SHA-256 of what arrived is {actual}, not {given}: upload it again")


class BusyError(LoraxBatchError):
    """Somebody else is doing this right now; try again later."""

    reason = "BUSY"


class QuotaExceededError(LoraxBatchError):
    """A tenant has used up what it may use; nothing was changed."""

    reason = "QUOTA_EXCEEDED"

    def __init__(self, tenant: str, quota: str, *, limit: int, used: int, asked: int, way_out: str) -> None:
        super().__init__(
            f"tenant '{tenant}' may have {limit:,} {QUOTA_NOUNS[quota]} (quota {quota}), has {used:,}, and asks for "
            f"{asked:,} more: {way_out}, or ask an operator for more"
        )
        self.tenant = tenant
        self.quota = quota
        self.limit = limit
        self.used = used


QUOTA_NOUNS = {
    "queued_jobs": "jobs that have not ended",
    "queued_tokens": "tokens in jobs that have not ended",
    "stored_bytes": "bytes of datasets and results",
}


class SequenceTooOldError(LoraxBatchError):
    """The events after that sequence are no longer kept; watch anew from a snapshot."""

    reason = "SEQUENCE_TOO_OLD"

    def __init__(self, sequence: int, oldest: int) -> None:
        super().__init__(f"events after sequence {sequence} are not kept; the oldest kept is {oldest}")


# --- the outside failed ------------------------------------------------------------------------------------------


class ObjectStoreError(LoraxBatchError):
    """The object store failed."""

    reason = "OBJECT_STORE"

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class DatabaseError(LoraxBatchError):
    """PostgreSQL failed or can't be reached."""

    reason = "DATABASE"


class ServerUnreachableError(LoraxBatchError):
    """A LoRAX server does not answer, or not as a server that is up does."""

    reason = "SERVER_UNREACHABLE"

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(f"server {url} does not answer: {detail}")
        self.url = url
        self.detail = detail


class FleetError(LoraxBatchError):
    """A server can't be started or stopped: the text says on which slot, and what the host said."""


class SlotOccupiedError(FleetError):
    """A slot has a server already."""

    def __init__(self, slot_id: str, server_id: str) -> None:
        super().__init__(f"slot {slot_id} has server {server_id} on it: stop that one first")
