"""Buckets of callers, from which datasets are imported and to which results are exported."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from lorax_batch_scheduler.errors import NotAllowedError
from lorax_batch_scheduler.ports.object_store import ObjectStore

SHOWN_CHARACTERS: Final = 200


class BucketNotAllowedError(NotAllowedError):
    """The URI is under none of those that the service's settings allow."""

    reason = "BUCKET_NOT_ALLOWED"

    def __init__(self, uri: str, *, setting: str) -> None:
        super().__init__(
            f"{_shown(uri)} is not allowed: it must be s3://BUCKET/KEY under one of the service's setting {setting}"
        )


class BucketRefusedError(NotAllowedError):
    """The bucket does not do for the service what it was asked."""

    reason = "BUCKET_REFUSED"


def _shown(uri: str) -> str:
    return repr(uri if len(uri) <= SHOWN_CHARACTERS else uri[:SHOWN_CHARACTERS] + "...")


class CallerBuckets(Protocol):
    """What lies in buckets that the service's settings allow, reached with the service's own credentials.

    Raises `BucketNotAllowedError` for a URI that is not allowed, `BucketRefusedError` when the bucket says no,
    `ObjectStoreError` (retryable) while it is in trouble.
    """

    async def size_of(self, uri: str, *, tenant: str | None = None) -> int:
        """Return how many bytes an object has that a tenant (None: any) may import.

        Raises `InvalidInputError` when it is not there.
        """
        ...

    def read(self, uri: str) -> AsyncIterator[bytes]:
        """Yield the bytes of an object that may be imported. Raises `ObjectNotFoundError`."""
        ...

    def check_destination(self, uri: str, *, tenant: str | None = None) -> str:
        """Return where to export to for a tenant (None: any), with a `/` at its end."""
        ...

    def open_destination(self, uri: str) -> AbstractAsyncContextManager[ObjectStore]:
        """Return the place as a store whose keys are names of files there."""
        ...
