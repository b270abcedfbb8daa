"""The settings of TLS, of secrets (files, read when the service starts and again when they change) and of adapters."""

from pathlib import Path
from typing import Annotated, Final

import pydantic
from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.tls.pem_file import PemFile
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from lorax_batch_server.server_certificates import ServerCertificates

_AUTHORITIES = "PEM file of the certificate authorities that {} must have theirs from; unset: {}"
_CERT = "PEM file of the certificate that is shown to {}"
_KEY = "PEM file of the private key of {}"
_MACHINE = "those of this machine"
CLIENT_PREFIXES: Final = ("database", "object_store", "bucket", "server")
"""Of the settings that say how others are reached over TLS."""


class SecuritySettings(BaseSettings):
    """What the service shows to others, whom and what it trusts, and what it seals secrets with."""

    tls_cert: Path | None = Field(
        default=None, description=_CERT.format("callers; with it the listener talks TLS only")
    )
    tls_key: Path | None = Field(default=None, description=_KEY.format("tls_cert"))
    tls_client_ca: Path | None = Field(
        default=None,
        description=_AUTHORITIES.format("callers", "callers need no certificate"),
    )
    database_ca: Path | None = Field(
        default=None, description=_AUTHORITIES.format("PostgreSQL", "as sslmode and sslrootcert of database_url say")
    )
    database_cert: Path | None = Field(default=None, description=_CERT.format("PostgreSQL"))
    database_key: Path | None = Field(default=None, description=_KEY.format("database_cert"))
    object_store_ca: Path | None = Field(default=None, description=_AUTHORITIES.format("the S3 store", _MACHINE))
    object_store_cert: Path | None = Field(default=None, description=_CERT.format("the S3 store"))
    object_store_key: Path | None = Field(default=None, description=_KEY.format("object_store_cert"))
    bucket_ca: Path | None = Field(default=None, description=_AUTHORITIES.format("callers' buckets", _MACHINE))
    bucket_cert: Path | None = Field(default=None, description=_CERT.format("callers' buckets"))
    bucket_key: Path | None = Field(default=None, description=_KEY.format("bucket_cert"))
    server_ca: Path | None = Field(default=None, description=_AUTHORITIES.format("LoRAX servers (https)", _MACHINE))
    server_cert: Path | None = Field(default=None, description=_CERT.format("LoRAX servers"))
    server_key: Path | None = Field(default=None, description=_KEY.format("server_cert"))
    secrets_key_file: Path | None = Field(
        default=None,
        description="the keys that tokens are sealed with, ID:BASE64 a line, new ones with the first: docs/security.md",
    )
    secrets_key: pydantic.SecretStr | None = Field(
        default=None, description="the same, as a text; in a variable, never in an argument"
    )
    adapter_sources: Annotated[list[str], NoDecode] | None = Field(
        default=None, description="where rows may have adapters from; unset: with auth = keys, all but local, else all"
    )

    @field_validator("adapter_sources")
    @classmethod
    def _check_sources(cls, value: list[str] | None) -> list[str] | None:
        for source in value or []:
            if source not in ADAPTER_SOURCES:
                raise ValueError(f"'{source}' is none of {', '.join(ADAPTER_SOURCES)}")
        if value == []:
            raise ValueError(f"names none: leave it out, or name some of {', '.join(ADAPTER_SOURCES)}")
        return value

    def listener_certificates(self) -> ServerCertificates | None:
        """Return what the gRPC listener shows; None: it talks plain.

        Raises:
            ConfigurationError: a file can't be used: names its setting, and what to change.
        """
        cert, key = self._pair("tls")
        client_ca = self._pem("tls_client_ca")
        if cert is None or key is None:
            if client_ca is not None:
                raise ConfigurationError(
                    "tls_client_ca is set without tls_cert: client certificates need TLS, give --tls-cert and --tls-key"
                )
            return None
        certificates = ServerCertificates(cert=cert, key=key, client_ca=client_ca)
        certificates.check()
        return certificates

    def client_tls(self, prefix: str) -> ClientTls:
        """Return how servers of a kind are reached: one of `CLIENT_PREFIXES`.

        Raises:
            ConfigurationError: a file can't be used: names its setting, and what to change.
        """
        cert, key = self._pair(prefix)
        tls = ClientTls(ca=self._pem(f"{prefix}_ca"), cert=cert, key=key, settings=prefix)
        tls.check()
        return tls

    def check_client_files(self) -> None:
        """Raise `ConfigurationError` for the first file that others can't be reached with, before anything is begun."""
        for prefix in CLIENT_PREFIXES:
            self.client_tls(prefix)

    def _pair(self, prefix: str) -> tuple[PemFile | None, PemFile | None]:
        cert, key = self._pem(f"{prefix}_cert"), self._pem(f"{prefix}_key")
        if (cert is None) != (key is None):
            given, missing = (cert, f"{prefix}_key") if cert is not None else (key, f"{prefix}_cert")
            raise ConfigurationError(f"{given} is set without {missing}: set both, or neither")
        return cert, key

    def _pem(self, setting: str) -> PemFile | None:
        path: Path | None = getattr(self, setting)
        return PemFile(setting=setting, path=path) if path is not None else None
