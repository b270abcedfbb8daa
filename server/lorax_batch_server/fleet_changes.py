"""What has become of a fleet from one moment to another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from lorax_batch_scheduler.fleet import FleetState, QueueStatus, ServerStatus, SlotStatus


@dataclass(frozen=True, slots=True)
class ServerRemoved:
    """A server is there no more."""

    server_id: str


@dataclass(frozen=True, slots=True)
class SlotRemoved:
    """A slot is there no more."""

    slot_id: str


FleetChange: TypeAlias = ServerStatus | SlotStatus | QueueStatus | ServerRemoved | SlotRemoved
"""A status: it is new or has changed."""
_StatusT = TypeVar("_StatusT", ServerStatus, SlotStatus, QueueStatus)


def fleet_changes(before: FleetState, after: FleetState) -> Iterator[FleetChange]:
    """Yield what to tell who knows `before`; no slot names a server that was not told yet, or was told to be gone.

    What is the same object in both has not changed: see `keep_unchanged`.
    """
    yield from _changed(before.servers, after.servers)
    yield from _changed(before.slots, after.slots)
    yield from (SlotRemoved(slot_id) for slot_id in before.slots if slot_id not in after.slots)
    yield from (ServerRemoved(server_id) for server_id in before.servers if server_id not in after.servers)
    yield from _changed(before.queues, after.queues)
    yield from (QueueStatus(base_model_id=name) for name in before.queues if name not in after.queues)


def keep_unchanged(before: FleetState, after: FleetState) -> FleetState:
    """Return `after` with the very objects of `before` where they say the same: a status that is only newer is none."""
    return FleetState(
        slots={key: _kept(before.slots, key, status) for key, status in after.slots.items()},
        servers={key: _kept(before.servers, key, status) for key, status in after.servers.items()},
        queues={key: _kept(before.queues, key, status) for key, status in after.queues.items()},
    )


def _changed(before: Mapping[str, _StatusT], after: Mapping[str, _StatusT]) -> Iterator[_StatusT]:
    return (status for key, status in after.items() if before.get(key) is not status)


def _kept(before: Mapping[str, _StatusT], key: str, status: _StatusT) -> _StatusT:
    known = before.get(key)
    if known is None:
        return status
    if isinstance(status, QueueStatus):
        return known if known == status else status
    return known if replace(known, update_time=status.update_time) == status else status
