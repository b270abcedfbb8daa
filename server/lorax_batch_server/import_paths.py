"""Which files of the server callers may import."""

import stat
from collections.abc import Sequence
from pathlib import Path

from lorax_batch_scheduler.errors import InvalidInputError

from lorax_batch_server.checks import shown
from lorax_batch_server.errors import PathNotAllowedError


def check_import_path(path: str, roots: Sequence[Path]) -> Path:
    """Return the real path of a file under one of the roots. Touches the file system.

    Raises:
        PathNotAllowedError: it is outside; nothing is said of what is there.
        InvalidInputError: it is not absolute, or there is no readable file.
    """
    if not path.startswith("/"):
        raise InvalidInputError("path", f"{shown(path)} is not an absolute path on the server")
    try:
        real = Path(path).resolve()
        allowed = any(real.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is too long
        allowed = False
    if not allowed:
        raise PathNotAllowedError(
            f"{shown(path)} is not under a directory that datasets may be imported from: upload the file, or have its "
            "directory added to the service's setting import_roots"
        )
    try:
        mode = real.stat().st_mode
        with real.open("rb"):
            pass
    except OSError as error:
        raise InvalidInputError("path", f"{shown(path)} can't be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise InvalidInputError("path", f"{shown(path)} is not a file")
    return real
