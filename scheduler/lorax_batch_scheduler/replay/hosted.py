"""A server in a replay."""

from dataclasses import dataclass

from lorax_batch_scheduler.packing import HostedState
from lorax_batch_scheduler.replay.server_model import ServerModel
from lorax_batch_scheduler.replay.trace import TraceSlot
from lorax_batch_scheduler.replay.virtual_server import VirtualServer


@dataclass(slots=True, eq=False, kw_only=True)
class Hosted:
    """A server in the replay."""

    server_id: str
    family: str
    slot: TraceSlot
    memory_bytes: int
    model: ServerModel
    state: HostedState
    since: float
    started: float
    ready_at: float
    engine: VirtualServer | None = None
    version: int = 0
    """Events of older versions are void."""
    due: float | None = None
    """When its engine is advanced next."""
    idle_since: float | None = None
