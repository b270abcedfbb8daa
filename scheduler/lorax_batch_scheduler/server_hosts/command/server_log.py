"""The log file of a server: what its process writes to standard output and error."""

import os
import re
from pathlib import Path
from typing import BinaryIO, Final

from lorax_batch_scheduler.redaction import REDACTOR

TAIL_LINES: Final = 40
TAIL_BYTES: Final = 16 << 10
TRIM_BYTES: Final = 64 << 20
"""A server logs every request: without a limit a long job fills the disk."""
KEPT_BYTES: Final = 1 << 20
KEPT_LOGS: Final = 5
"""Of servers of one slot that have ended."""
_TOKEN: Final = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")
_BLOT: Final = b"[token]"


class ServerLog:
    """One server's log, and next to it the last of what was cut off when it had grown too long."""

    def __init__(self, folder: Path, server_id: str, *, secret: str | None = None) -> None:
        """Name the files. `secret` is shown to nobody."""
        self._secret = secret
        self.path = folder / f"{server_id}.log"
        self._earlier = folder / f"{server_id}.earlier"

    def open(self) -> BinaryIO:
        """Open it for the process to write to; readable by the owner only, as rows may be in it."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Appending: after a trim it goes on at the file's new end.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "ab", buffering=0)

    def tail(self) -> tuple[str, ...]:
        """Return its last lines, tokens blotted out; none if it can't be read."""
        text = self._blotted(self._last(TAIL_BYTES)).decode(errors="replace")
        lines = ["".join(c if c.isprintable() or c == "\t" else " " for c in line) for line in text.splitlines()]
        return tuple(lines[-TAIL_LINES:])

    def trim(self, limit_bytes: int = TRIM_BYTES) -> None:
        """Cut it when it has grown beyond the limit; what is written at that moment may be lost."""
        if not self.path.exists() or self.path.stat().st_size <= limit_bytes:
            return
        self._earlier.write_bytes(self._last(KEPT_BYTES))
        os.truncate(self.path, 0)

    def scrub(self) -> None:
        """Blot out the tokens that a server has written which has ended."""
        for path in (self.path, self._earlier):
            try:
                written = path.read_bytes()
                blotted = self._blotted(written)
                if blotted != written:
                    path.write_bytes(blotted)
            except FileNotFoundError:
                continue

    def remove(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)
        self._earlier.unlink(missing_ok=True)

    def _blotted(self, data: bytes) -> bytes:
        if self._secret:
            data = data.replace(self._secret.encode(), _BLOT)
        return _TOKEN.sub(_BLOT, REDACTOR.clean_bytes(data))

    def _last(self, length: int) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(max(file.seek(0, os.SEEK_END) - length, 0))
                return file.read(length) or b""
        except OSError:
            return b""


def remove_old_logs(folder: Path, slot_id: str, kept: int = KEPT_LOGS) -> None:
    """Delete all but the newest logs of a slot's servers."""
    logs = sorted(folder.glob(f"{slot_id}-????????.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in logs[kept:]:
        ServerLog(folder, path.stem).remove()
