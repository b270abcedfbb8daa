"""Where LoRAX servers are started and stopped: one port for every kind of fleet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.server_config import ServerConfig


class LaunchState(StrEnum):
    """How far a server is, as its host sees it; whether it answers is asked elsewhere."""

    STARTING = "STARTING"
    """Its process or pod is being made: it has no address yet."""
    UP = "UP"
    """It has an address; it may still be loading its model."""
    STOPPING = "STOPPING"
    """It was told to end."""
    GONE = "GONE"
    """It has ended, by itself or as it was told. The slot is free again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchedServer:
    """A server on a slot."""

    server_id: str
    slot_id: str
    family: str
    """The hash of what it was started with; "" for a static one, whose model is found out by asking it."""
    model: str
    """What it was told to load; "" for a static one."""
    state: LaunchState
    url: str = ""
    """Empty until it has an address."""
    start_time: datetime | None = None
    """None: it was there before us."""
    config: ServerConfig | None = None
    """What jobs asked for when it was started; None: nobody did, or it was an older version."""
    arguments: tuple[str, ...] = ()
    """Of its launcher, without the model and the address."""
    reason: str = ""
    """For people: what it waits for, or why it ended (with the exit status)."""
    log_tail: tuple[str, ...] = ()
    """The last lines of its log, once it has ended by itself."""


class ServerHost(Protocol):
    """Slots of one kind, and what runs on them.

    `run` must be running for the other methods to have any effect. A host never starts a server by itself and never
    judges whether one is well: it starts, stops, and tells what has become of it.
    """

    @property
    def kind(self) -> str:
        """`static`, `command` or `kubernetes`."""
        ...

    @property
    def slots(self) -> Sequence[Slot]: ...

    @property
    def servers(self) -> Sequence[LaunchedServer]:
        """Every server that is not GONE, and of each slot the last one that is."""
        ...

    async def run(self, on_change: Callable[[], None]) -> None:
        """Adopt what an earlier life of this host has left and can go on, end the rest, then watch until cancelled.

        `on_change` is called whenever `servers` has changed. Cancelling leaves servers running; `close` ends them.
        """
        ...

    async def start(self, slot_id: str, launch: Launch) -> str:
        """Begin to start a server and return its id; what comes of it is seen in `servers`.

        Raises:
            SlotOccupiedError: the slot has a server already.
            FleetError: it can't be started; nothing is left of it.
        """
        ...

    async def stop(self, server_id: str) -> None:
        """Begin to end a server: politely first, by force after the grace of its slot. Unknown ids are ignored."""
        ...

    async def close(self) -> None:
        """End all servers that this host has started, and wait until they are gone; static ones are left alone."""
        ...
