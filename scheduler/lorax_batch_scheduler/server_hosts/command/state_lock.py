"""The lock that keeps two processes from adopting and ending each other's servers."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorax_batch_scheduler.errors import ConfigurationError


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
