"""What a backup says of itself: written last, so a backup that has it is complete."""

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from lorax_batch_scheduler.errors import ConfigurationError

FORMAT: Final = 1


class CopiedObject(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `objects.jsonl`."""

    key: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of `backup.json`."""

    format: int
    database_id: str
    schema_version: int
    begin_time: datetime
    """The state of the database that was saved is of this moment, or a little later."""
    end_time: datetime
    object_count: int
    object_bytes: int
    database_sha256: str
    objects_sha256: str
    """Of `objects.jsonl`, which has those of the objects."""


class BackupFolder:
    """Where the parts of a backup lie."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.database = self.path / "database.dump"
        self.listing = self.path / "objects.jsonl"
        self._manifest = self.path / "backup.json"

    def object_file(self, key: str) -> Path:
        """Return where an object's bytes are; keys of object stores have no segment that leads elsewhere."""
        return self.path / "objects" / key

    def make(self) -> None:
        """Make the folder, for nobody else to read. Raises `ConfigurationError` when there is something in it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if any(self.path.iterdir()):
                raise ConfigurationError(f"'{self.path}' is not empty: each backup needs a folder of its own")
            (self.path / "objects").mkdir(mode=0o700)
        except OSError as error:
            raise ConfigurationError(f"can't write a backup to '{self.path}': {error.strerror}") from error

    def complete(self, manifest: Manifest) -> None:
        """Say that everything is there."""
        aside = self._manifest.with_suffix(".incoming")
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(self._manifest)
        sync_folder(self.path)

    def open(self) -> Manifest:
        """Return what the backup says of itself, its listing and its dump checked.

        Raises `ConfigurationError` when it is none, not finished, of a newer format, or damaged.
        """
        try:
            manifest = msgspec.json.decode(self._manifest.read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise ConfigurationError(
                f"'{self.path}' has no backup.json: it is no backup of lorax-batch, or one that was not finished"
            ) from None
        except (msgspec.DecodeError, OSError) as error:
            raise ConfigurationError(f"'{self._manifest}' can't be read: {error}") from error
        if manifest.format != FORMAT:
            raise ConfigurationError(
                f"'{self.path}' has format {manifest.format}, but this lorax-batch knows {FORMAT}: use a newer one"
            )
        for file, wanted in ((self.database, manifest.database_sha256), (self.listing, manifest.objects_sha256)):
            if not file.is_file() or file_sha256(file) != wanted:
                raise damaged(file)
        return manifest

    def objects(self) -> Iterator[CopiedObject]:
        """Yield what was copied, in key order."""
        decoder = msgspec.json.Decoder(CopiedObject)
        with self.listing.open("rb") as lines:
            for line in lines:
                yield decoder.decode(line)


def damaged(file: Path) -> ConfigurationError:
    """Return what to say of a file that is not what was written."""
    return ConfigurationError(f"'{file}' is missing or damaged (its SHA-256 is another): take another backup")


def file_sha256(file: Path) -> str:
    """Return the checksum of a file, lower-case hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make the names of a folder's files durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
