"""The first operator's key: read from a file, or made and written there, so that others can be made with it."""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.ports import AccessStore
from lorax_batch_scheduler.tenant import DEFAULT_TENANT, NewKey, Role

from lorax_batch_server.api_keys import MAX_SECRET_CHARACTERS, new_key_id, new_secret, secret_sha256

MIN_SECRET_CHARACTERS: Final = 32
"""A shorter one could be guessed; ours have 47."""
_NAME: Final = "operator key file"

_log = structlog.get_logger(__name__)


async def ensure_operator_key(store: AccessStore, path: Path) -> None:
    """See that the key in a file is known as an operator's; where there is no such file, make one.

    A key of the file that was revoked, or given another role, stays as it is: put another into the file.

    Raises:
        ConfigurationError: the file can't be read or written, or holds no key.
    """
    secret = _read(path)
    new = NewKey(
        key_id=new_key_id(),
        tenant=DEFAULT_TENANT,
        role=Role.OPERATE,
        name=_NAME,
        secret_sha256=secret_sha256(secret),
    )
    key = await store.ensure_key(new)
    if key.key_id == new.key_id:
        _log.info("operator_key_added", key_id=key.key_id, file=str(path))
    elif key.revoke_time is not None:
        _log.warning("operator_key_revoked", key_id=key.key_id, file=str(path), advice="put another key into the file")


def check_operator_key_file(path: Path) -> None:
    """Raise `ConfigurationError` when a key can be neither read from a file nor written to it; makes none."""
    if path.exists():
        _read(path)
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        why = "can't be written" if path.parent.is_dir() else "is no directory"
        raise ConfigurationError(f"operator_key_file {path}: {path.parent} {why}; give a file with a key, or none yet")


async def warn_without_operators(store: AccessStore, now: datetime) -> None:
    """Say so in the log when no good key is an operator's: nobody could make any."""
    keys = (await store.access_table()).keys.values()
    if not any(key.role is Role.OPERATE and key.is_good(now) for key in keys):
        _log.warning("no_operator_key", advice="give --operator-key-file (setting operator_key_file)")


def _read(path: Path) -> str:
    try:
        try:
            secret = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            secret = new_secret()
            _write(path, secret)
    except FileExistsError:
        return _read(path)  # another process has just made it
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it holds more than a key"
        raise ConfigurationError(f"operator_key_file {path}: {told}; give a file with a key, or none yet") from error
    if not MIN_SECRET_CHARACTERS <= len(secret) <= MAX_SECRET_CHARACTERS or any(c.isspace() for c in secret):
        raise ConfigurationError(
            f"operator_key_file {path}: holds {len(secret)} characters, but a key has {MIN_SECRET_CHARACTERS} to "
            f"{MAX_SECRET_CHARACTERS} on one line: remove the file to have one made"
        )
    return secret


def _write(path: Path, secret: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - of a descriptor with its mode
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        # Not a rename: that would take the place of a file which another process has just made.
        os.link(part, path)
    finally:
        part.unlink()
