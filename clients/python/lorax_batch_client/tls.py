"""TLS to the service: whom the client trusts, and the certificate that it shows."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc

from lorax_batch_client.errors import CertificateError

MAX_PEM_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM form; all of them may be left out for a service whose certificate is of a public authority."""

    ca: str | Path | None = None
    """The authorities to trust instead of the public ones."""
    cert: str | Path | None = None
    """The client's own certificate, for a service that asks for one."""
    key: str | Path | None = None
    """Of `cert`."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the files as gRPC takes them.

        Raises:
            CertificateError: a file can't be used; says which, and what to change.
        """
        if (self.cert is None) != (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise CertificateError(f"{given} is given without {missing}: give both, or neither")
        ca, cert, key = (_read(name, getattr(self, name)) for name in ("ca", "cert", "key"))
        if ca is not None:
            _check_certificates("ca", self.ca, ca, every=False)
        if cert is not None and key is not None:
            _check_certificates("cert", self.cert, cert, every=True)
            self._check_pair(cert, key)
        return grpc.ssl_channel_credentials(ca, key, cert)

    def _check_pair(self, cert: bytes, key: bytes) -> None:
        # Only callers with files of their own wait for this import.
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

        if b"PRIVATE KEY-----" not in key:
            raise CertificateError(f"key '{self.key}' holds no private key: give the file with the key of cert")
        try:
            own = load_pem_private_key(key, password=None).public_key()
        except TypeError as error:
            raise CertificateError(f"key '{self.key}' is encrypted with a pass phrase: store it without") from error
        except ValueError as error:
            raise CertificateError(f"key '{self.key}' can't be read: it is truncated or damaged") from error
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if x509.load_pem_x509_certificates(cert)[0].public_key().public_bytes(*form) != own.public_bytes(*form):
            raise CertificateError(
                f"key '{self.key}' is not the key of cert '{self.cert}': give two that belong together"
            )


def _read(name: str, path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_PEM_BYTES)
    except OSError as error:
        raise CertificateError(
            f"{name} '{path}' can't be read: {error.strerror}; correct the path, or its rights"
        ) from error
    if not data.strip():
        raise CertificateError(f"{name} '{path}' is empty: write the PEM text into it")
    if b"-----BEGIN " not in data:
        raise CertificateError(f"{name} '{path}' is not a PEM file: it has no '-----BEGIN ...' line")
    return data


def _check_certificates(name: str, path: str | Path | None, data: bytes, *, every: bool) -> None:
    """Check that certificates can be read and count now: each of them, or at least one."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise CertificateError(
            f"{name} '{path}' holds no certificate that can be read: it is truncated, damaged or something else"
        ) from error
    now = datetime.now(UTC)
    late = [each for each in found if now > each.not_valid_after_utc]
    early = [each for each in found if now < each.not_valid_before_utc]
    if not every and len(late) + len(early) < len(found):
        return
    if late:
        raise CertificateError(f"{name} '{path}' expired at {late[0].not_valid_after_utc.isoformat()}: renew it")
    if early:
        raise CertificateError(
            f"{name} '{path}' counts only from {early[0].not_valid_before_utc.isoformat()} on: wait, renew it, or set "
            "this machine's clock right"
        )
