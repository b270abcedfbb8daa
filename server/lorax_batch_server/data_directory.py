"""The directory that one service owns: the embedded PostgreSQL, objects, scratch space."""

import getpass
import os
from pathlib import Path

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres.owner_lock import OwnerLock


class DataDirectory:
    """Made when it is not there, and locked for as long as the service lives."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock: OwnerLock | None = None

    @property
    def postgres(self) -> Path:
        """Where the embedded PostgreSQL lives."""
        return self.path / "postgres"

    @property
    def objects(self) -> Path:
        """Where objects are kept when no other store is set."""
        return self.path / "objects"

    @property
    def secrets_key(self) -> Path:
        """The key that is made when none is set, and the database is the embedded one."""
        return self.path / "secrets.key"

    @property
    def scratch(self) -> Path:
        """Where ingest sorts; emptied at each start."""
        return self.path / "scratch"

    def open(self) -> None:
        """Make the directory and own it.

        Raises:
            ConfigurationError: it can't be made or written, or another service owns it.
        """
        try:
            # Others may pass through: PostgreSQL does not run as root, and everything inside has its own mode.
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in (self.objects, self.scratch):
                folder.mkdir(exist_ok=True, mode=0o700)
            lock = OwnerLock(self.path / "owner.lock")
            lock.acquire()
        except OSError as error:
            raise ConfigurationError(
                f"data directory '{self.path}' can't be used by user {_user()}: {error.strerror}; "
                "choose another with --data-dir (LORAX_BATCH_DATA_DIR), or change its owner"
            ) from error
        self._lock = lock

    def close(self) -> None:
        """Let another service have it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
