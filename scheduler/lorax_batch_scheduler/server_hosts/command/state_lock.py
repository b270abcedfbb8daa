"""The state directory, and the lock that keeps two processes from adopting and ending each other's servers."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError

_FOLDERS: Final = ("servers", "logs")


def prepare_state(directory: Path) -> None:
    """Make the state directory, so that no start of a server fails later on for want of it.

    Raises:
        ConfigurationError: it, or a folder of it, can't be made or written in.
    """
    for folder in (directory, *(directory / name for name in _FOLDERS)):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"'{folder}', where records and logs of LoRAX servers are kept, can't be written in: {error.strerror}: "
                "make it a folder that the service's user may write in, or take another data directory"
            ) from error


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Hold a state directory, making it first; the kernel lets go of it however the holder ends.

    Raises:
        ConfigurationError: somebody else holds it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"'{directory}' is in use by another service, whose servers are recorded there: stop that one, or "
                "choose another directory"
            ) from None
        yield
    finally:
        os.close(descriptor)
