"""The listener of a service whose settings are at hand: where a probe beside it asks, and whom it trusts there."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.pem_file import PemFile

from lorax_batch_server.settings import Settings

if TYPE_CHECKING:
    import grpc
    from lorax_batch_client import Tls

_EVERYWHERE: Final = ("::", "0.0.0.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnListener:
    """Where a probe connects, and how."""

    target: str
    credentials: "grpc.ChannelCredentials | None"
    """None: it talks plain."""
    options: tuple[tuple[str, Any], ...]


def own_listener(settings: Settings, given: "Tls | None") -> OwnListener:
    """Return the listener that these settings open.

    Nothing but its own certificate is trusted, under the name that it has: that of a pod is `localhost` to nobody.
    `given`: what to show where callers must show a certificate; unset, the service's own.

    Raises:
        ConfigurationError: there is no fixed port, or the certificate can't be used.
        CertificateError: the same, of a file that the probe shows.
    """
    from lorax_batch_client import Tls

    address = settings.listen_address
    if not address.socket and address.port == 0:
        raise ConfigurationError("listen has port 0, which is any free one: give --target instead of --own")
    if address.host in _EVERYWHERE:
        address = replace(address, host="localhost")
    if settings.tls_cert is None:
        return OwnListener(target=str(address), credentials=None, options=())
    shown = given or Tls()
    tls = Tls(ca=settings.tls_cert, cert=shown.cert, key=shown.key)
    if settings.tls_client_ca is not None and tls.cert is None:
        tls = replace(tls, cert=settings.tls_cert, key=settings.tls_key)
    name = _name_of(PemFile(setting="tls_cert", path=settings.tls_cert).certificates()[0])
    return OwnListener(
        target=str(address), credentials=tls.credentials(), options=(("grpc.ssl_target_name_override", name),)
    )


def _name_of(certificate: x509.Certificate) -> str:
    """Return a name that a certificate stands for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ConfigurationError(
            "tls_cert has no subjectAltName, so no caller can check whom it reaches: issue it with its names"
        ) from error
    for name in names.get_values_for_type(x509.DNSName):
        return name.replace("*", "probe")
    return next((str(address) for address in names.get_values_for_type(x509.IPAddress)), "")
