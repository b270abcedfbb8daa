"""What all schedulers say of their servers."""

from collections.abc import Sequence
from typing import Protocol

from lorax_batch_scheduler.fleet import ServerStatus


class FleetStore(Protocol):
    """Servers as their schedulers last recorded them; they are forgotten with their scheduler's lease."""

    async def record_servers(self, scheduler_id: str, servers: Sequence[ServerStatus]) -> None:
        """Record how a scheduler's servers are; nothing happens once it was declared dead."""
        ...

    async def servers(self, *, but_of: str = "") -> list[ServerStatus]:
        """Return the servers of all living schedulers (`but_of`: of all others), by id.

        A server that several schedulers use is there once, as the one sees it that gets on with it best.
        """
        ...
