"""Servers that others start: fixed URLs behind the port of server hosts."""

import asyncio
from collections.abc import Callable, Sequence

from lorax_batch_scheduler.errors import FleetError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState


class StaticHost:
    """Slots whose servers are there, as far as anybody knows: whether one answers is asked elsewhere."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = tuple(slots)
        # One server a slot, of the same name: what is known of it outlives the service.
        self._servers = tuple(
            LaunchedServer(
                server_id=slot.slot_id,
                slot_id=slot.slot_id,
                family="",
                model="",
                state=LaunchState.UP,
                url=slot.url,
            )
            for slot in self._slots
        )

    def __repr__(self) -> str:
        return f"StaticHost({len(self._slots)} slots)"

    @property
    def kind(self) -> str:
        """`static`."""
        return "static"

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots of the configuration."""
        return self._slots

    @property
    def servers(self) -> Sequence[LaunchedServer]:
        """One server a slot, always UP."""
        return self._servers

    async def run(self, on_change: Callable[[], None]) -> None:
        """Wait until cancelled: nothing ever changes."""
        on_change()
        await asyncio.Event().wait()

    async def start(self, slot_id: str, launch: Launch) -> str:
        """Refuse: a fixed URL serves what it serves. Raises `FleetError`, always."""
        raise FleetError(
            f"slot {slot_id} is a fixed URL: its server is started by others, not for {launch.model}; "
            "give the fleet command or kubernetes slots to have servers started"
        )

    async def stop(self, server_id: str) -> None:
        """Do nothing: it is not ours to end."""

    async def close(self) -> None:
        """Do nothing: the servers are left alone."""
