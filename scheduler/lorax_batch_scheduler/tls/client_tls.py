"""How servers of one kind are reached over TLS: whom we trust, and who we are."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.file_changes import FileChanges
from lorax_batch_scheduler.tls.pem_file import PemFile, check_authorities, check_identity

_log = structlog.get_logger()


class ClientTls:
    """Makes contexts for connections; new ones use what the files hold by then."""

    def __init__(
        self,
        *,
        ca: PemFile | None = None,
        cert: PemFile | None = None,
        key: PemFile | None = None,
        settings: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`ca`: None for the authorities of this machine. `cert` and `key`: None for no certificate of our own.

        `settings`: the prefix of the settings that name the files, "server" of `server_ca`, for advice.
        """
        self.settings = settings
        self.ca = ca
        self.cert = cert
        self.key = key
        self._now = now
        self._changes = FileChanges([file.path for file in (ca, cert, key) if file is not None])
        self._context: ssl.SSLContext | None = None

    def __bool__(self) -> bool:
        """Tell whether any file is named."""
        return self.ca is not None or self.cert is not None or self.key is not None

    @property
    def first_setting(self) -> str:
        """The name of the first setting that names a file; "" when none does."""
        return next((file.setting for file in (self.ca, self.cert, self.key) if file is not None), "")

    def check(self) -> None:
        """Raise `ConfigurationError` when a file can't be used: names its setting, and what to change."""
        if self.ca is not None:
            check_authorities(self.ca, now=self._now())
        if self.cert is not None and self.key is not None:
            check_identity(self.cert, self.key, now=self._now())

    def context(self) -> ssl.SSLContext:
        """Return what to connect with. Raises `ConfigurationError` only the first time: later, what worked stays."""
        if self._context is None:
            self._context = self._make()
        elif self._changes.found():
            try:
                self._context = self._make()
            except ConfigurationError as error:
                _log.error("certificates_not_reloaded", error=str(error))
            else:
                _log.info("certificates_reloaded", files=[str(file) for file in (self.ca, self.cert) if file])
        return self._context

    def _make(self) -> ssl.SSLContext:
        self.check()
        context = ssl.create_default_context(cafile=self.ca.path if self.ca is not None else None)
        context.set_alpn_protocols(["http/1.1"])
        if self.cert is not None and self.key is not None:
            context.load_cert_chain(self.cert.path, self.key.path)
        return context
