"""Whether an address may be listened on with the protection that there is."""

from dataclasses import dataclass

import structlog
from lorax_batch_scheduler.errors import ConfigurationError

from lorax_batch_server.listen_address import ListenAddress

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What stands between callers and the service."""

    tls: bool = False
    keys: bool = False
    allow_insecure: bool = False
    """Whoever configured it said in so many words that nothing needs to."""


def check_exposure(address: ListenAddress, protection: Protection) -> None:
    """Refuse an address that other machines reach when nothing protects the service.

    Raises:
        ConfigurationError: names the flags that would allow it.
    """
    if address.is_loopback or protection.allow_insecure:
        return
    if not protection.tls and not protection.keys:
        raise ConfigurationError(
            f"listen {address} is reachable from other machines, and there is neither TLS nor a login: listen on "
            "localhost, ask callers for keys with --auth keys (setting auth), put a proxy with TLS in front, or give "
            "--allow-insecure (setting allow_insecure)"
        )
    if not protection.tls:
        _log.warning("keys_without_tls", address=str(address), advice="keys and data can be read on the way")
    elif not protection.keys:
        _log.warning("tls_without_keys", address=str(address), advice="whoever can connect can do anything")
