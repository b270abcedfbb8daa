"""Tells whether files have changed since they were read."""

import os
from collections.abc import Sequence
from pathlib import Path

_Signature = tuple[int, int, int] | None


class FileChanges:
    """Looks at inode, size and time of a few files; a symbolic link that was swapped counts as well."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._seen = self._signatures()

    def found(self) -> bool:
        """Tell whether any has changed since the last call, or since this was made."""
        now = self._signatures()
        before, self._seen = self._seen, now
        return now != before

    def _signatures(self) -> list[_Signature]:
        return [_signature(path) for path in self._paths]


def _signature(path: Path) -> _Signature:
    try:
        found = os.stat(path)  # noqa: PTH116  # once a handshake
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
