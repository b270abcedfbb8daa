"""Files with certificates or keys: read and checked, so that what is wrong is said with the name of the setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from lorax_batch_scheduler.errors import ConfigurationError

MAX_PEM_BYTES: Final = 4 << 20
"""All public authorities together take a quarter of a MiB."""
_BEGIN: Final = b"-----BEGIN "
_END: Final = b"-----END "
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PRIVATE: Final = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class PemFile:
    """A file and the setting that names it."""

    setting: str
    path: Path

    def __str__(self) -> str:
        return f"{self.setting} '{self.path}'"

    def read(self) -> bytes:
        """Return its bytes. Raises `ConfigurationError` when there are none, or not all, of a PEM file."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_PEM_BYTES + 1)
        except OSError as error:
            raise self.wrong(f"can't be read: {error.strerror}; correct the path, or its rights") from error
        if not data.strip():
            raise self.wrong("is empty: write the PEM text into it")
        if len(data) > MAX_PEM_BYTES:
            raise self.wrong(f"has more than {MAX_PEM_BYTES:,} bytes: it is no PEM file")
        if _BEGIN not in data:
            raise self.wrong("is not a PEM file: it has no '-----BEGIN ...' line")
        if data.count(_BEGIN) != data.count(_END):
            raise self.wrong("is truncated: a '-----BEGIN ...' line has no '-----END ...' line; write it anew")
        return data

    def certificates(self) -> list[x509.Certificate]:
        """Return its certificates, at least one. Raises `ConfigurationError`."""
        data = self.read()
        if _CERTIFICATE not in data:
            found = "a private key" if _PRIVATE in data else "something else"
            raise self.wrong(f"holds {found}, no certificate: give the file with the certificate")
        try:
            return x509.load_pem_x509_certificates(data)
        except ValueError as error:
            raise self.wrong("holds a certificate that can't be read: it is truncated or damaged") from error

    def private_key(self) -> PrivateKeyTypes:
        """Return its key. Raises `ConfigurationError`."""
        data = self.read()
        if _PRIVATE not in data:
            found = "a certificate" if _CERTIFICATE in data else "something else"
            raise self.wrong(f"holds {found}, no private key: give the file with the key")
        try:
            return load_pem_private_key(data, password=None)
        except TypeError as error:
            raise self.wrong("is encrypted with a pass phrase, which nobody can type here: store it without") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise self.wrong("holds a key that can't be read: it is truncated or damaged") from error

    def wrong(self, what: str) -> ConfigurationError:
        """Return the error that says what is wrong with it."""
        return ConfigurationError(f"{self} {what}")


def check_authorities(file: PemFile, *, now: datetime) -> None:
    """Check the certificates of authorities: at least one must count now. Raises `ConfigurationError`."""
    found = file.certificates()
    if not any(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in found):
        _check_dates(file, found[:1], now)


def check_identity(cert: PemFile, key: PemFile, *, now: datetime) -> None:
    """Check a certificate with its chain, that it counts now, and that the key is its own.

    Raises:
        ConfigurationError: names the setting, and what to change.
    """
    chain = cert.certificates()
    own = key.private_key().public_key()
    _check_dates(cert, chain, now)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain[0].public_key().public_bytes(*form) != own.public_bytes(*form):
        raise ConfigurationError(
            f"{key} is not the key of the certificate in {cert}: give the two that were made together "
            "(the server's own certificate comes first in its file)"
        )


def _check_dates(file: PemFile, certificates: Sequence[x509.Certificate], now: datetime) -> None:
    for each in certificates:
        name = each.subject.rfc4514_string() or "without a name"
        if now > each.not_valid_after_utc:
            raise file.wrong(f"expired at {each.not_valid_after_utc.isoformat()} ({name}): renew it")
        if now < each.not_valid_before_utc:
            raise file.wrong(
                f"counts only from {each.not_valid_before_utc.isoformat()} on ({name}): wait, renew it, or set this "
                f"machine's clock right, which shows {now.isoformat(timespec='seconds')}"
            )
