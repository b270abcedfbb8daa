"""Servers at fixed URLs that somebody else starts and stops."""

import asyncio
from collections.abc import Callable, Sequence

from lorax_batch_scheduler.errors import FleetError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState


class StaticHost:
    """One server a slot, always up."""

    kind = "static"

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)
        self.servers = tuple(
            LaunchedServer(
                server_id=slot.slot_id,
                slot_id=slot.slot_id,
                family="",
                model="",
                state=LaunchState.UP,
                url=slot.url,
                reason="fixed by the configuration",
            )
            for slot in slots
        )

    async def run(self, on_change: Callable[[], None]) -> None:
        """Nothing ever changes."""
        await asyncio.Event().wait()

    async def start(self, slot_id: str, launch: Launch) -> str:
        """Refuse."""
        raise FleetError(f"slot {slot_id} has a fixed server: nothing can be started on it")

    async def stop(self, server_id: str) -> None:
        """Leave it alone."""

    async def close(self) -> None:
        """Leave them alone."""
