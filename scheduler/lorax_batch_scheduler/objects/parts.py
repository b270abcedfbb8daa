"""Multipart uploads of the directory store: a directory for each, a file for each part."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.objects.files import (
    file_errors,
    give_name,
    make_directories,
    new_file,
    sync_directory,
    write_all,
)
from lorax_batch_scheduler.ports import ObjectInfo, UnfinishedUpload, UploadedPart

_ID = re.compile(r"upload-[a-z0-9_]{8}")  # what mkdtemp makes
_KEY_FILE = "key"
_REMOVED = ".removed"
_COPY_BYTES = 1 << 20


class PartFiles:
    """The files of one upload. A part's name holds its hash, so a part that was stored again is told from the first."""

    def __init__(self, uploads: Path, key: str, upload_id: str) -> None:
        if not _ID.fullmatch(upload_id):
            raise ObjectNotFoundError(f"{key} (upload {upload_id!r})")
        self._key = key
        self._upload_id = upload_id
        self._directory = uploads / upload_id

    @staticmethod
    def start(uploads: Path, key: str) -> str:
        """Begin an upload and return its id."""
        with file_errors(key):
            make_directories(uploads)
            directory = Path(tempfile.mkdtemp(prefix="upload-", dir=uploads))
            with (directory / _KEY_FILE).open("w") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(directory)
            sync_directory(uploads)
        return directory.name

    @staticmethod
    def under_prefix(uploads: Path, prefix: str) -> list[UnfinishedUpload]:
        """Return the unfinished uploads whose keys begin with a prefix."""
        found = []
        for key_file in uploads.glob(f"*/{_KEY_FILE}"):
            with suppress(FileNotFoundError):
                key = key_file.read_text()
                if key.startswith(prefix) and _ID.fullmatch(key_file.parent.name):
                    found.append(UnfinishedUpload(key=key, upload_id=key_file.parent.name))
        return found

    @staticmethod
    def remove_remains(uploads: Path) -> None:
        """Finish the removals that a crash interrupted."""
        for directory in uploads.glob(f"*{_REMOVED}"):
            shutil.rmtree(directory, ignore_errors=True)

    def write(self, number: int, data: bytes) -> UploadedPart:
        """Store a part durably in place of an earlier one of its number."""
        part = UploadedPart(number=number, size_bytes=len(data), token=hashlib.sha256(data).hexdigest())
        self._check_upload()
        with file_errors(self._label), new_file(self._directory) as (file, aside):
            write_all(file, data)
            os.fsync(file.fileno())
            path = self._path(part)
            aside.replace(path)
            for other in self._directory.glob(f"{number:05}-*"):
                if other != path:
                    other.unlink()
            sync_directory(self._directory)
        return part

    def complete(self, path: Path, parts: Sequence[UploadedPart]) -> ObjectInfo:
        """Make the object of the parts and forget the upload."""
        made = ObjectInfo(key=self._key, size_bytes=sum(part.size_bytes for part in parts))
        try:
            self._check_upload()
            self._check_parts(parts)
            self._join(path, parts)
        except ObjectNotFoundError:  # it was completed before, or is just now by somebody else
            if _size(path) != made.size_bytes:
                raise
        return made

    def remove(self) -> None:
        """Throw the upload away; a missing one is fine."""
        # In one step first, so that a crash leaves no upload that lacks parts.
        removed = self._directory.with_name(self._upload_id + _REMOVED)
        with suppress(FileNotFoundError):
            self._directory.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def _join(self, path: Path, parts: Sequence[UploadedPart]) -> None:
        with file_errors(self._label), new_file(self._directory) as (file, aside):
            for part in parts:
                with self._path(part).open("rb") as source:
                    shutil.copyfileobj(source, file, _COPY_BYTES)
            os.fsync(file.fileno())
            give_name(aside, path, replace=True)
        self.remove()

    def _check_upload(self) -> None:
        with file_errors(self._label):
            if (self._directory / _KEY_FILE).read_text() != self._key:
                raise FileNotFoundError(f"upload {self._upload_id} is another key's")

    def _check_parts(self, parts: Sequence[UploadedPart]) -> None:
        for part in parts:
            if _size(self._path(part)) == part.size_bytes:
                continue
            self._check_upload()  # or it has ended meanwhile
            raise ObjectStoreError(
                f"part {part.number} of {self._label} is not the one that was stored", retryable=False
            )

    @property
    def _label(self) -> str:
        return f"{self._key} (upload {self._upload_id})"

    def _path(self, part: UploadedPart) -> Path:
        return self._directory / f"{part.number:05}-{part.token}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
