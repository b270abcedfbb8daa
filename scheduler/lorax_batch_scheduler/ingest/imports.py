"""Where a dataset may be imported from: files on the server, and objects in callers' buckets."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.errors import InvalidInputError, NotAllowedError
from lorax_batch_scheduler.ports.caller_buckets import CallerBuckets

_BLOCK_BYTES: Final = 1 << 20


class PathNotAllowedError(NotAllowedError):
    """The path is not under one of the roots that imports are allowed from."""

    reason = "PATH_NOT_ALLOWED"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"'{path}' may not be imported: it must be an absolute path under one of the server's import roots"
        )


class ImportSources:
    """All that the settings allow."""

    def __init__(self, roots: Sequence[Path], buckets: CallerBuckets, *, max_bytes: int) -> None:
        self._roots = roots
        self._buckets = buckets
        self._max_bytes = max_bytes

    async def resolve(self, source: str, tenant: str | None = None) -> str:
        """Return where the bytes are, having looked that they are there and that a tenant (None: any) may have them.

        *Raises*: as `resolve_import` and `CallerBuckets.size_of`; `InvalidInputError` for too large an object.
        """
        if not is_bucket_uri(source):
            return str(await asyncio.to_thread(resolve_import, source, self._roots))
        size_bytes = await self._buckets.size_of(source, tenant=tenant)
        if size_bytes > self._max_bytes:
            message = f"'{source}' has {size_bytes:,} bytes, but a dataset may have {self._max_bytes:,}: split it"
            raise InvalidInputError("path", message)
        return source


def is_bucket_uri(source: str) -> bool:
    """Tell whether a source is an object in a bucket, and not a file."""
    return source.startswith("s3://")


def resolve_import(path: str, roots: Sequence[Path]) -> Path:
    """Return the file behind a path, links followed.

    *Raises*: `PathNotAllowedError` also for paths outside that do not exist, so that nothing is told about them;
    `InvalidInputError` when there is no such file under a root.
    """
    if not Path(path).is_absolute() or "\0" in path:
        raise PathNotAllowedError(path)
    try:
        real = Path(path).resolve()
        allowed = any(real.is_relative_to(root.resolve()) for root in roots) and not real.is_symlink()
    except (OSError, RuntimeError):  # a loop of links; from Python 3.13 on it resolves to one of them
        raise PathNotAllowedError(path) from None
    if not allowed:
        raise PathNotAllowedError(path)
    if not real.is_file():
        raise InvalidInputError("path", f"'{path}' is no file on the server")
    return real


async def read_file(path: Path) -> AsyncIterator[bytes]:
    """Yield the bytes of a file. Raises `OSError`, also when it has become a link since it was resolved."""
    file = await asyncio.to_thread(_open, path)
    try:
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block
    finally:
        file.close()


def _open(path: Path) -> io.FileIO:
    return io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
