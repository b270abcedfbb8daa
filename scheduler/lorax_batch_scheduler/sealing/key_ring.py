"""The keys that secrets are sealed with: the first seals, all of them open."""

import base64
import binascii
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError

KEY_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FORM: Final = "ID:BASE64 with 32 bytes, as `lorax-batch secrets new-key` makes one"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingKey:
    """An AES-256 key and its name, which is stored beside what it has sealed."""

    key_id: str
    raw: bytes = field(repr=False)

    def __str__(self) -> str:
        """Return the form in which it is written down: a secret."""
        return f"{self.key_id}:{base64.b64encode(self.raw).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """At least one key; the ids differ."""

    keys: tuple[SealingKey, ...]

    @property
    def current(self) -> SealingKey:
        """The one that seals."""
        return self.keys[0]

    def find(self, key_id: str) -> SealingKey | None:
        """Return the key of that name."""
        return next((key for key in self.keys if key.key_id == key_id), None)


def new_key() -> SealingKey:
    """Return a new random key with a name of its own."""
    return SealingKey(key_id=f"key-{secrets.token_hex(4)}", raw=secrets.token_bytes(KEY_BYTES))


def parse_keys(text: str, where: str) -> KeyRing:
    """Read keys, one a line (or with white space between them); `#` begins a remark.

    Raises:
        ConfigurationError: names `where` and the key at fault, never its value.
    """
    keys: dict[str, SealingKey] = {}
    for number, word in enumerate(_words(text), start=1):
        key = _parse_key(word, f"{where}: key {number}")
        if key.key_id in keys:
            raise ConfigurationError(f"{where}: key '{key.key_id}' is there twice: give each key an id of its own")
        keys[key.key_id] = key
    if not keys:
        raise ConfigurationError(f"{where} holds no key: it must be {_FORM}")
    return KeyRing(keys=tuple(keys.values()))


def _words(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from line.partition("#")[0].split()


def _parse_key(word: str, where: str) -> SealingKey:
    key_id, separator, encoded = word.partition(":")
    if not separator or not _ID.fullmatch(key_id):
        raise ConfigurationError(f"{where} has no id before a colon: it must be {_FORM}")
    try:
        raw = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ConfigurationError(f"{where}, '{key_id}', is not Base64: it must be {_FORM}") from error
    if len(raw) != KEY_BYTES:
        raise ConfigurationError(
            f"{where}, '{key_id}', has {len(raw)} bytes, but needs {KEY_BYTES}: it must be {_FORM}"
        )
    return SealingKey(key_id=key_id, raw=raw)
