"""The certificate that the gRPC listener shows, and whom it asks for one; files that change count from then on."""

from collections.abc import Callable
from datetime import UTC, datetime

import grpc
import structlog
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.file_changes import FileChanges
from lorax_batch_scheduler.tls.pem_file import PemFile, check_authorities, check_identity

_log = structlog.get_logger(__name__)


class ServerCertificates:
    """Reads the files again whenever one has changed; what can't be used is logged, and the last good stays."""

    def __init__(
        self,
        *,
        cert: PemFile,
        key: PemFile,
        client_ca: PemFile | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._now = now
        self._changes = FileChanges([file.path for file in (cert, key, client_ca) if file is not None])

    @property
    def asks_callers(self) -> bool:
        """Whether callers must show a certificate of their own."""
        return self._client_ca is not None

    def check(self) -> None:
        """Raise `ConfigurationError` when a file can't be used: names it, its setting, and what to change."""
        self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what the listener is opened with.

        Raises:
            ConfigurationError: names the file that can't be used, its setting, and what to change.
        """
        return grpc.dynamic_ssl_server_credentials(
            self._read(),
            self._changed,  # type: ignore[arg-type]  # None means "as before", which the stubs don't know
            require_client_authentication=self.asks_callers,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what to use from now on, None for what is used already; gRPC asks at each handshake, from threads."""
        if not self._changes.found():
            return None
        try:
            read = self._read()
        except ConfigurationError as error:
            _log.error("certificates_not_reloaded", error=str(error))
            return None
        _log.info("certificates_reloaded", cert=str(self._cert.path))
        return read

    def _read(self) -> grpc.ServerCertificateConfiguration:
        check_identity(self._cert, self._key, now=self._now())
        if self._client_ca is not None:
            check_authorities(self._client_ca, now=self._now())
        return grpc.ssl_server_certificate_configuration(
            [(self._key.read(), self._cert.read())],
            root_certificates=self._client_ca.read() if self._client_ca is not None else None,
        )
