"""An object store in a local directory."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from lorax_batch_scheduler.errors import ObjectNotFoundError
from lorax_batch_scheduler.objects import keys
from lorax_batch_scheduler.objects.files import (
    delete_file,
    delete_tree,
    file_errors,
    list_directory,
    make_directories,
    read_range,
    remove_old_files,
    write_file,
)
from lorax_batch_scheduler.objects.parts import PartFiles
from lorax_batch_scheduler.ports import ObjectInfo, UnfinishedUpload, UploadedPart

_SCRATCH = ".incoming"
"""Files being written. A crash leaves some; they are removed when they are old enough to be nobody's."""
_UPLOADS = ".uploads"


class DirectoryObjectStore:
    """Objects as files below `root`; any number of processes of one machine may share it.

    A file is written aside, synced and then given its name, so a name always stands for complete bytes, also after
    a power cut. One limit beyond the port's: a key can't be the directory of another (`a` beside `a/b`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._scratch = root / _SCRATCH
        self._uploads = root / _UPLOADS

    def __repr__(self) -> str:
        return f"<DirectoryObjectStore {self._root}>"

    async def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        await asyncio.to_thread(write_file, path, data, key=key, scratch=self._scratch, replace=True)

    async def create(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        return await asyncio.to_thread(write_file, path, data, key=key, scratch=self._scratch, replace=False)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        keys.check_range(offset, length)
        path = self._path(key)
        return await asyncio.to_thread(read_range, path, key, offset, length)

    async def stream(self, key: str, *, offset: int = 0, block_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        keys.check_range(offset, None)
        path = self._path(key)
        with file_errors(key):
            # An open file stays what it was when the key is written anew. Some microseconds: a thread would leave it
            # open if we were cancelled.
            file = path.open("rb", buffering=0)
        try:
            while True:
                with file_errors(key):
                    block = await asyncio.to_thread(os.pread, file.fileno(), block_bytes, offset)
                if not block:
                    return
                offset += len(block)
                yield block
        finally:
            file.close()

    async def head(self, key: str) -> ObjectInfo:
        path = self._path(key)
        with file_errors(key):
            return ObjectInfo(key=key, size_bytes=(await asyncio.to_thread(path.stat)).st_size)

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await asyncio.to_thread(delete_file, path, key)

    async def scan(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        keys.check_prefix(prefix)
        # Depth first, the next in key order last; a directory stands for the keys that it begins.
        waiting: list[tuple[str, int | None]] = [(prefix.rpartition("/")[0], None)]
        while waiting:
            key, size_bytes = waiting.pop()
            if size_bytes is not None:
                if key > after:
                    yield ObjectInfo(key=key, size_bytes=size_bytes)
                continue
            if key and f"{key}0" <= after:
                continue  # '0' follows '/': all that is below comes before
            entries = await asyncio.to_thread(list_directory, self._root, key)
            waiting.extend(entry for entry in reversed(entries) if entry[0].startswith(prefix))

    async def download_url(self, key: str, *, lifetime: timedelta, file_name: str) -> str | None:
        keys.check_key(key)
        keys.check_link(lifetime, file_name)
        return None

    async def delete_prefix(self, prefix: str, *, keep: str = "") -> int:
        keys.check_kept(prefix, keep)
        for upload in await self.unfinished_uploads(prefix):
            if not keys.is_kept(upload.key, keep):
                await self.abort_upload(upload.key, upload.upload_id)
        kept = self._root / keep if keep else None
        return await asyncio.to_thread(delete_tree, self._root / prefix, prefix, kept)

    async def start_upload(self, key: str) -> str:
        keys.check_key(key)
        return await asyncio.to_thread(PartFiles.start, self._uploads, key)

    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        keys.check_prefix(prefix)
        return await asyncio.to_thread(PartFiles.under_prefix, self._uploads, prefix)

    async def upload_part(self, key: str, upload_id: str, number: int, data: bytes) -> UploadedPart:
        keys.check_key(key)
        keys.check_part_number(number)
        return await asyncio.to_thread(PartFiles(self._uploads, key, upload_id).write, number, data)

    async def complete_upload(self, key: str, upload_id: str, parts: list[UploadedPart]) -> ObjectInfo:
        keys.check_parts(parts)
        files = PartFiles(self._uploads, key, upload_id)
        return await asyncio.to_thread(files.complete, self._path(key), parts)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        with suppress(ObjectNotFoundError):
            await asyncio.to_thread(PartFiles(self._uploads, key, upload_id).remove)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def _open(self) -> None:
        with file_errors(str(self._root)):
            make_directories(self._scratch)
            make_directories(self._uploads)
            remove_old_files(self._scratch)
            PartFiles.remove_remains(self._uploads)

    def _path(self, key: str) -> Path:
        keys.check_key(key)
        return self._root / key
