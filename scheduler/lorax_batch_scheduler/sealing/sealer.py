"""Seals and opens secrets: AES-256-GCM, bound to the place where they are stored."""

import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lorax_batch_scheduler.errors import NoSecretsKeyError, SecretUnreadableError
from lorax_batch_scheduler.sealing.key_source import KeySource

NONCE_BYTES: Final = 12
"""Random: one key may seal some 4,000,000,000 secrets before two of them could share one."""
_VERSION: Final = b"lorax-batch 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A secret as it is stored."""

    key_id: str
    blob: bytes = field(repr=False)
    """Nonce, ciphertext and tag."""


class Sealer:
    """Seals with the current key and opens with the one that is named."""

    def __init__(self, keys: KeySource) -> None:
        self._keys = keys

    @property
    def current_key_id(self) -> str | None:
        """The key that seals now; None: there is none."""
        ring = self._keys.ring()
        return ring.current.key_id if ring is not None else None

    def knows(self, key_id: str) -> bool:
        """Whether what that key has sealed can be opened."""
        ring = self._keys.ring()
        return ring is not None and ring.find(key_id) is not None

    def seal(self, plain: bytes, *, place: str) -> Sealed:
        """Seal a secret for one place, such as `job_secrets/job_1`; it can be opened for no other.

        Raises:
            NoSecretsKeyError: this process has no key.
        """
        ring = self._keys.ring()
        if ring is None:
            raise NoSecretsKeyError
        nonce = os.urandom(NONCE_BYTES)
        key = ring.current
        return Sealed(key_id=key.key_id, blob=nonce + AESGCM(key.raw).encrypt(nonce, plain, _bound(key.key_id, place)))

    def open(self, sealed: Sealed, *, place: str) -> bytes:
        """Return the secret.

        Raises:
            SecretUnreadableError: this process does not have the key, or the bytes are not what was sealed for there.
        """
        ring = self._keys.ring()
        key = ring.find(sealed.key_id) if ring is not None else None
        if key is None:
            raise SecretUnreadableError(place, f"this process does not have key '{sealed.key_id}': add it to its keys")
        nonce, ciphertext = sealed.blob[:NONCE_BYTES], sealed.blob[NONCE_BYTES:]
        try:
            return AESGCM(key.raw).decrypt(nonce, ciphertext, _bound(sealed.key_id, place))
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadableError(
                place,
                f"it is not what key '{sealed.key_id}' sealed for there: another key has that id, or it was changed",
            ) from error


def _bound(key_id: str, place: str) -> bytes:
    return b"\0".join((_VERSION, key_id.encode(), place.encode()))
