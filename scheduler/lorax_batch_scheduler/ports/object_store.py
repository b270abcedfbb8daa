"""Where bytes are kept: chunks of datasets and finished files."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What a store says of an object."""

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedPart:
    """One stored part of a multipart upload; the caller keeps these to resume."""

    number: int
    size_bytes: int
    token: str
    """What the store wants to see at completion (S3: the part's ETag)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str


class ObjectStore(Protocol):
    """Named, immutable byte strings. A write is visible only when it is complete.

    Keys are relative paths of `[A-Za-z0-9._-]+` segments joined by `/`, none beginning with `.`.

    Raises `InvalidInputError` for a key, range or part that no store takes, `ObjectNotFoundError` where a key or an
    upload does not exist, `ObjectStoreError` (retryable or not) for everything else that goes wrong outside.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing what the key held. Durable on return."""
        ...

    async def create(self, key: str, data: bytes) -> bool:
        """Write an object only if the key holds none; tells whether this call wrote it. One of many racing wins."""
        ...

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object, shorter than asked only at the object's end."""
        ...

    def stream(self, key: str, *, offset: int = 0, block_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """Yield an object's bytes from `offset` on."""
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Return what the store knows of an object."""
        ...

    async def delete(self, key: str) -> None:
        """Delete an object; a missing one is fine."""
        ...

    def scan(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield the objects whose keys begin with `prefix` and come behind `after`, in key order."""
        ...

    async def download_url(self, key: str, *, lifetime: timedelta, file_name: str) -> str | None:
        """Return a link that anybody can read an object by for so long, without a look whether it is there.

        None: this store has no links. A browser saves what it reads as `file_name`.
        """
        ...

    async def delete_prefix(self, prefix: str, *, keep: str = "") -> int:
        """Delete every object (and unfinished upload) under a prefix that ends in `/`; return how many objects.

        What lies under `keep`, a longer prefix of the same kind, stays.
        """
        ...

    async def start_upload(self, key: str) -> str:
        """Begin a multipart upload and return its id; nothing is visible until it is completed."""
        ...

    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        """Return the multipart uploads of keys that begin with `prefix`."""
        ...

    async def upload_part(self, key: str, upload_id: str, number: int, data: bytes) -> UploadedPart:
        """Store part `number` (from 1); storing it again replaces it. All but the last have at least 5 MiB."""
        ...

    async def complete_upload(self, key: str, upload_id: str, parts: list[UploadedPart]) -> ObjectInfo:
        """Make the object of the parts, in their order. Idempotent: completing a completed upload again succeeds
        as long as the object is there with the parts' total size."""
        ...

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw an unfinished upload away; an unknown one is fine."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
