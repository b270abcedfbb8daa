"""`HOST:PORT` texts."""

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError

MAX_SOCKET_BYTES: Final = 107
_SHOWN_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int
    socket: str = ""
    """The path of a Unix socket instead of host and port."""

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.socket or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_listen(text: str) -> ListenAddress:
    """Read `HOST:PORT`, `[IPV6]:PORT`, `:PORT` (all interfaces) or `unix:PATH`. Raises `ConfigurationError`."""
    if text.startswith("unix:"):
        return ListenAddress(host="", port=0, socket=_socket_path(text.removeprefix("unix:")))
    host, separator, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not re.fullmatch(r"\d{1,20}", port, re.ASCII) or int(port) > 65_535:
        raise ConfigurationError(
            f"listen '{text[:_SHOWN_CHARACTERS]}' is not HOST:PORT, like localhost:50051 (port 0: a free one)"
        )
    return ListenAddress(host=host or "::", port=int(port))


def _socket_path(path: str) -> str:
    # One byte less than the kernel's buffer, for its final zero.
    if not path or "\0" in path or len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        shown = path[:_SHOWN_CHARACTERS]
        raise ConfigurationError(
            f"listen 'unix:{shown}': the path must have 1 to {MAX_SOCKET_BYTES} bytes, none of them 0"
        )
    return path
