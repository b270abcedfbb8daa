"""The door to LoRAX servers, and to OpenAI-compatible ones, over HTTP."""

from lorax_batch_scheduler.lorax_servers.address import ServerAddress
from lorax_batch_scheduler.lorax_servers.connection import Connection, WireFault
from lorax_batch_scheduler.lorax_servers.pool import ConnectionPool
from lorax_batch_scheduler.lorax_servers.probe import Health, ServerProbe

__all__ = ["Connection", "ConnectionPool", "Health", "ServerAddress", "ServerProbe", "WireFault"]
