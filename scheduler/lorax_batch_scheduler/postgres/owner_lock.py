"""The lock that makes one process the owner of a state directory."""

import fcntl
import os
import socket
from pathlib import Path

from lorax_batch_scheduler.errors import ConfigurationError


class OwnerLock:
    """Held for the owner's whole life; the kernel lets go of it however the owner ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        return self._fd is not None

    def acquire(self) -> None:
        """Take the lock, or raise `ConfigurationError` naming who holds it."""
        if self._fd is not None:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "a process that left no name"
            os.close(fd)
            raise ConfigurationError(
                f"'{self._path.parent}' is in use by {holder}: one service owns a data directory; "
                "stop that one, or choose another data directory"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        # For the message above only: nobody decides by it.
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go; harmless when not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
