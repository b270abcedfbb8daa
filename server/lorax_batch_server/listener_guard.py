"""Decides whether a listener may be opened: what other machines can reach needs TLS and a way to know callers."""

from lorax_batch_scheduler.errors import ConfigurationError

from lorax_batch_server.listen_address import ListenAddress
from lorax_batch_server.server_certificates import ServerCertificates
from lorax_batch_server.settings import Settings


def guarded_certificates(settings: Settings) -> ServerCertificates | None:
    """Return what the listener shows to callers, None when it talks plain.

    Raises:
        ConfigurationError: a file can't be used, or strangers could use or overhear the listener.
    """
    certificates = settings.listener_certificates()
    check_listener(
        settings.listen_address,
        tls=certificates is not None,
        auth=settings.auth == "keys" or (certificates is not None and certificates.asks_callers),
        allow_insecure=settings.allow_insecure,
    )
    return certificates


def check_listener(address: ListenAddress, *, tls: bool, auth: bool, allow_insecure: bool) -> None:
    """Refuse a listener that strangers could use or overhear.

    `auth`: callers must show a key or a client certificate.

    Raises:
        ConfigurationError: names what is missing, how to add it, and the flag that allows it all the same.
    """
    if address.is_loopback or allow_insecure or (tls and auth):
        return
    raise ConfigurationError(
        f"listen {address} is reachable from other machines, and {_missing(tls=tls, auth=auth)}: listen on localhost, "
        f"{_way_out(tls=tls, auth=auth)}, or allow it with --allow-insecure (setting allow_insecure)"
    )


def _missing(*, tls: bool, auth: bool) -> str:
    if tls:
        return "anybody who can connect can do anything, as neither keys nor client certificates are asked for"
    if auth:
        return "there is no TLS: keys and rows could be read on the way"
    return "there is neither TLS nor a login"


def _way_out(*, tls: bool, auth: bool) -> str:
    certificate = "give a certificate (--tls-cert, --tls-key)"
    login = "ask for keys (setting auth) or for client certificates (--tls-client-ca)"
    return " and ".join([certificate] * (not tls) + [login] * (not auth))
