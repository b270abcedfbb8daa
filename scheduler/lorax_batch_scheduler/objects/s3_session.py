"""The HTTP session of S3 clients whose certificates may change while they live."""

import functools
import ssl
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession

from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.tls.latest_context import LatestContext


class _LatestTlsSession(AIOHTTPSession):
    def __init__(self, tls: ClientTls, **options: Any) -> None:  # noqa: ANN401 - botocore's own
        super().__init__(**options)
        self._tls = tls

    # aiobotocore has no door for this: it takes paths, and reads them once.
    def _build_ssl_contexts(self, proxy_url: str | None) -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
        _, proxy = super()._build_ssl_contexts(proxy_url)  # type: ignore[misc]  # the stubs know no private names
        return LatestContext.of(self._tls), proxy


def session_of(tls: ClientTls) -> "functools.partial[_LatestTlsSession]":
    """Return what makes the sessions of a client that is reached with these files."""
    return functools.partial(_LatestTlsSession, tls)
