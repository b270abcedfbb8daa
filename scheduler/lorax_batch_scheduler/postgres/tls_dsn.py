"""Puts the files of TLS into the address of a PostgreSQL, where every connection reads them anew."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.tls.pem_file import PemFile

_SYSTEM: Final = "system"
"""As `sslrootcert`: the authorities of this machine, in libpq; our driver takes files alone."""
_PARAMETERS: Final = {"ca": "sslrootcert", "cert": "sslcert", "key": "sslkey"}


def with_tls(dsn: str, tls: ClientTls) -> str:
    """Return a DSN that names the files of `tls`; with an authority, the server must be whom it names (verify-full).

    A `sslmode` of the DSN's own stays.

    Raises:
        ConfigurationError: a file stands in the DSN as well, or its sslmode leaves TLS out.
    """
    try:
        parts = urlsplit(dsn)
    except ValueError:
        return dsn  # it is no URL: the driver says so
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_own_files(query)
    if not tls:
        return dsn
    for name, parameter in _PARAMETERS.items():
        file = getattr(tls, name)
        if file is None:
            continue
        if parameter in query:
            raise ConfigurationError(
                f"{file.setting} is set, and database_url has {parameter} as well: leave one of them out"
            )
        query[parameter] = str(file.path)
    mode = query.setdefault("sslmode", "verify-full" if tls.ca is not None else "require")
    if mode in ("disable", "allow", "prefer"):
        raise ConfigurationError(
            f"{tls.first_setting} is set, but sslmode={mode} of database_url goes without TLS: leave sslmode out, or "
            "give verify-full"
        )
    return urlunsplit(parts._replace(query=urlencode(query)))


def _check_own_files(query: Mapping[str, str]) -> None:
    """Check the files that the DSN itself names; the driver tells less of what is wrong with them."""
    files = {
        name: PemFile(setting=f"{parameter} of database_url", path=Path(query[parameter]))
        for name, parameter in _PARAMETERS.items()
        if query.get(parameter)
    }
    if query.get(_PARAMETERS["ca"]) == _SYSTEM:
        raise ConfigurationError(
            "sslrootcert=system of database_url: give the file with the authorities, such as "
            "/etc/ssl/certs/ca-certificates.crt"
        )
    ClientTls(ca=files.get("ca"), cert=files.get("cert"), key=files.get("key")).check()
