"""Secrets and signatures as Standard Webhooks says."""

import base64
import hashlib
import hmac
import secrets as chance
from collections.abc import Sequence
from datetime import datetime
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """Return a secret as receivers' libraries take it."""
    return PREFIX + base64.b64encode(chance.token_bytes(SECRET_BYTES)).decode()


def signed_headers(secrets: Sequence[str], message_id: str, time: datetime, body: bytes) -> dict[str, str]:
    """Return the headers that prove who sent a body, and when: one signature for each secret."""
    seconds = str(int(time.timestamp()))
    content = b".".join((message_id.encode(), seconds.encode(), body))
    signatures = (
        hmac.digest(base64.b64decode(secret.removeprefix(PREFIX)), content, hashlib.sha256) for secret in secrets
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(signature).decode()}" for signature in signatures),
    }
