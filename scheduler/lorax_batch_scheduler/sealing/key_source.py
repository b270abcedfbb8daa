"""Where keys come from: a text, or a file that is read again when it changes."""

import os
import tempfile
from pathlib import Path
from typing import Final, Protocol

import structlog

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.sealing.key_ring import KeyRing, new_key, parse_keys
from lorax_batch_scheduler.tls.file_changes import FileChanges

_LARGEST_BYTES: Final = 1 << 20
_REMARK: Final = (
    "# Without this file, tokens of jobs in the database can't be read: back it up apart from the database.\n"
)

_log = structlog.get_logger()


class KeySource(Protocol):
    """Gives the keys as they are now."""

    def ring(self) -> KeyRing | None:
        """Return the keys; None: there are none, and nothing can be sealed."""
        ...


class FixedKeys:
    """Keys that do not change while the process lives; or none at all."""

    def __init__(self, ring: KeyRing | None = None) -> None:
        self._ring = ring

    def ring(self) -> KeyRing | None:
        return self._ring


class KeyFile:
    """Keys in a file. What is added to it counts at once; a file that can't be read any more changes nothing."""

    def __init__(self, path: Path, *, setting: str = "secrets_key_file") -> None:
        """Read it. Raises `ConfigurationError` when it can't be used."""
        self._path = path
        self._setting = setting
        self._changes = FileChanges([path])
        self._ring = self._read()

    def ring(self) -> KeyRing:
        if self._changes.found():
            try:
                self._ring = self._read()
            except ConfigurationError as error:
                _log.error("secrets_keys_not_reloaded", error=str(error))
            else:
                _log.info("secrets_keys_reloaded", keys=[key.key_id for key in self._ring.keys])
        return self._ring

    def _read(self) -> KeyRing:
        where = f"{self._setting} '{self._path}'"
        try:
            with self._path.open("rb") as file:
                text = file.read(_LARGEST_BYTES).decode()
                is_open = os.fstat(file.fileno()).st_mode & 0o007
        except OSError as error:
            raise ConfigurationError(
                f"{where} can't be read: {error.strerror}; correct the path, or its rights"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{where} is not text: write keys as `lorax-batch secrets new-key` prints them"
            ) from error
        if is_open:
            _log.warning("secrets_key_file_open_to_all", file=str(self._path), mode=f"{is_open:o}")
        return parse_keys(text, where)


def ensure_key_file(path: Path) -> bool:
    """Make a file with a new key, for its owner alone, where there is none; tell whether it was made.

    Raises:
        OSError: it can't be written.
    """
    if path.exists():
        return False
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # nobody else can read those
        try:
            file.write(f"{_REMARK}{new_key()}\n")
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
