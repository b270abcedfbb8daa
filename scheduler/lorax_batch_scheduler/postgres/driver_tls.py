"""TLS of a service's connections to PostgreSQL: files are read anew, and those that can't be used change nothing."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.tls.latest_context import LatestContext
from lorax_batch_scheduler.tls.pem_file import PemFile

_FULL: Final = "verify-full"
_CHECKING: Final = ("require", "verify-ca", _FULL)
"""With an authority, `require` checks the server's certificate as well; only the last one checks for whom it is."""
_DRIVERS_OWN: Final = ("sslcrl", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version")
_DRIVERS_VARIABLES: Final = ("PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION")
_DRIVERS_FILES: Final = ("postgresql.crt", "root.crl")
"""In `~/.postgresql`: a certificate of our own, and what is revoked."""


def driver_tls(dsn: str, environment: Mapping[str, str] = os.environ) -> ssl.SSLContext | None:
    """Return what to connect with.

    None where the DSN names no authority, or more is told than files of the DSN: the driver does what it says.

    Raises:
        ConfigurationError: a file can't be used: names it, and what to change.
    """
    try:
        query = dict(parse_qsl(urlsplit(dsn).query))
    except ValueError:
        return None  # it is no URL: the driver says so
    mode = query.get("sslmode", "")
    ca, cert, key = (_file(query, name) for name in ("sslrootcert", "sslcert", "sslkey"))
    if ca is None or mode not in _CHECKING or any(name in query for name in _DRIVERS_OWN):
        return None
    if any(environment.get(name) for name in _DRIVERS_VARIABLES):
        return None
    folder = Path(environment.get("HOME", "/")) / ".postgresql"
    if any((folder / name).exists() for name in _DRIVERS_FILES):
        return None
    return LatestContext.of(_DriverTls(ca=ca, cert=cert, key=key, host_matters=mode == _FULL))


class _DriverTls(ClientTls):
    def __init__(self, *, ca: PemFile, cert: PemFile | None, key: PemFile | None, host_matters: bool) -> None:
        super().__init__(ca=ca, cert=cert, key=key, settings="database")
        self._host_matters = host_matters

    def _make(self) -> ssl.SSLContext:
        context = super()._make()
        context.check_hostname = self._host_matters
        context.set_alpn_protocols(["postgresql"])
        # As in libpq: authorities of one's own seldom have all that the newest standard asks of them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def _file(query: dict[str, str], parameter: str) -> PemFile | None:
    path = query.get(parameter)
    return PemFile(setting=f"{parameter} of database_url", path=Path(path)) if path else None
