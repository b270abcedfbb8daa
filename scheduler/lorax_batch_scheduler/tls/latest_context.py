"""A TLS context for libraries that take one for good: each of its connections uses what the files hold by then."""

import ssl
from typing import Any, Self

from lorax_batch_scheduler.tls.client_tls import ClientTls


class LatestContext(ssl.SSLContext):
    """Stands in for the newest context of a `ClientTls`; event loops begin every handshake with `wrap_bio`."""

    _tls: ClientTls

    @classmethod
    def of(cls, tls: ClientTls) -> Self:
        """Return one. Raises `ConfigurationError` when the files can't be used."""
        tls.context()
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._tls = tls
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401 - handed on as they are
        """Begin a handshake."""
        return self._tls.context().wrap_bio(*arguments, **options)
