"""Puts the files of TLS into the address of a PostgreSQL, where every connection reads them anew."""

from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.client_tls import ClientTls

_PARAMETERS: Final = {"ca": "sslrootcert", "cert": "sslcert", "key": "sslkey"}


def with_tls(dsn: str, tls: ClientTls) -> str:
    """Return a DSN that names the files of `tls`; with an authority, the server must be whom it names (verify-full).

    A `sslmode` of the DSN's own stays.

    Raises:
        ConfigurationError: a file stands in the DSN as well, or its sslmode leaves TLS out.
    """
    if not tls:
        return dsn
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
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
        first = next(file for file in (tls.ca, tls.cert, tls.key) if file is not None)
        raise ConfigurationError(
            f"{first.setting} is set, but sslmode={mode} of database_url goes without TLS: leave sslmode out, or give "
            "verify-full"
        )
    return urlunsplit(parts._replace(query=urlencode(query)))
