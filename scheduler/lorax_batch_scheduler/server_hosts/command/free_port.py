"""Ports that servers on this host will listen on."""

import random
import socket
from collections.abc import Collection
from typing import Final

from lorax_batch_scheduler.errors import FleetError

PORTS: Final = range(20_000, 30_000)
"""Below the ports that Linux gives to outgoing connections: a server binds its port minutes after it was chosen."""
_TRIES: Final = 200
HOST: Final = "127.0.0.1"


def free_port(taken: Collection[int], chance: random.Random) -> int:
    """Return a port that nobody listens on and that is not promised to another server. Raises `FleetError`."""
    for _ in range(_TRIES):
        port = chance.choice(PORTS)
        if port not in taken and is_free(port):
            return port
    raise FleetError(f"no free port found between {PORTS.start} and {PORTS.stop - 1}: set `port` of the slot")


def is_free(port: int) -> bool:
    """Tell whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections don't matter
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
