"""What a cluster's API answers when it does not do what it was asked to."""

from typing import Final

import msgspec

from lorax_batch_scheduler.errors import FleetError

UNREACHABLE: Final = 0
"""Stands for a status where there was no answer."""
_PASSING: Final = frozenset({UNREACHABLE, 408, 429, 500, 502, 503, 504})


class ClusterError(FleetError):
    """The API of the cluster refused a call, or did not answer it."""

    def __init__(self, what: str, status: int, cause: str, message: str) -> None:
        answer = f"{status} {cause}" if status else "no answer"
        super().__init__(f"{what}: {answer}: {message}")
        self.status = status
        self.cause = cause
        """Of the API's closed list, like `AlreadyExists`; "" where it gave none."""
        self.message = message

    @property
    def is_expired(self) -> bool:
        """Whether the resource version asked for is too old: list again."""
        return self.status == 410

    @property
    def is_not_found(self) -> bool:
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Whether the object has changed meanwhile, exists already, or is another one of that name."""
        return self.status == 409

    @property
    def already_exists(self) -> bool:
        return self.is_conflict and self.cause == "AlreadyExists"

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed a moment later."""
        return self.status in _PASSING


class _Status(msgspec.Struct):
    """The part that we read of Kubernetes' Status object."""

    code: int = 0
    reason: str = ""
    message: str = ""


def error_of(what: str, status: int, body: bytes) -> ClusterError:
    """Return the error that an answer's body tells of; some proxies answer in plain text."""
    try:
        told = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        told = _Status(message=body[:500].decode(errors="replace").strip())
    return ClusterError(what, status or told.code, told.reason, told.message)
