"""`HOST:PORT` texts."""

import ipaddress
from dataclasses import dataclass

from lorax_batch_scheduler.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_listen(text: str) -> ListenAddress:
    """Read `HOST:PORT`, `[IPV6]:PORT` or `:PORT` (all interfaces). Raises `ConfigurationError`."""
    host, separator, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"listen '{text}' is not HOST:PORT, like localhost:50051 (port 0: a free one)")
    return ListenAddress(host=host or "::", port=int(port))
