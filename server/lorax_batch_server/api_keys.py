"""The secrets of keys: how they are made, how they are sent, and what is stored of them."""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Final

from lorax_batch_server.errors import KeyMissingError

SECRET_PREFIX: Final = "lxb_"  # noqa: S105 - no secret, but how all of them begin
"""By which people, and programs that look for leaked secrets, know one."""
MAX_SECRET_CHARACTERS: Final = 200
HEADER: Final = "authorization"
_SCHEME: Final = "bearer"


def new_secret() -> str:
    """Return `lxb_` and 43 characters: 256 random bits."""
    return f"{SECRET_PREFIX}{secrets.token_urlsafe(32)}"


def new_key_id() -> str:
    """Return `key_` and 24 characters: 96 random bits."""
    return f"key_{secrets.token_hex(12)}"


def secret_sha256(secret: str) -> bytes:
    """Return what is stored of a secret. Looked up by this, what is sent tells nothing by the time that it takes."""
    return hashlib.sha256(secret.encode()).digest()


def sent_secret(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the secret that a call carries. Raises `KeyMissingError`."""
    found = [value for key, value in metadata if key == HEADER]
    if len(found) > 1:
        raise KeyMissingError(f"the call has {len(found)} `authorization` entries in its metadata: send one")
    if not found:
        raise KeyMissingError(
            "the call has no API key: send `authorization: Bearer KEY` as metadata (`api_key=` of the client, "
            "--api-key-file or LORAX_BATCH_API_KEY of the command line)"
        )
    text = found[0] if isinstance(found[0], str) else found[0].decode(errors="replace")
    scheme, _, secret = text.partition(" ")
    if scheme.lower() != _SCHEME or not secret.strip() or len(secret) > MAX_SECRET_CHARACTERS:
        raise KeyMissingError("the `authorization` metadata is not of the form `Bearer KEY`")
    return secret.strip()
