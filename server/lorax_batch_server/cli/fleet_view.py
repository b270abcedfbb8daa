"""Slots, servers and what becomes of them, as a person reads it."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from lorax_batch_server.cli.output import print_table, show_count

if TYPE_CHECKING:
    from lorax_batch_client import FleetEvent, FleetSnapshot, Queue, Server, Slot

_GIB: Final = 1 << 30


def print_slots(slots: Iterable["Slot"]) -> None:
    """Print one line a slot."""
    columns = ("SLOT", "KIND", "GPU", "MEMORY", "NODE", "URL", "MODEL", "SERVERS", "IN SERVICE", "REASON")
    print_table(
        columns,
        (
            (
                *(one.slot_id, one.kind, one.gpu_kind, show_memory(one.memory_bytes), one.node, one.url),
                *(one.declared_model, " ".join(one.server_ids), not one.drained, slot_reason(one)),
            )
            for one in slots
        ),
    )


def print_servers(servers: Iterable["Server"]) -> None:
    """Print one line a server."""
    columns = (
        *("SERVER", "SLOT", "URL", "STATE", "MODEL", "IN FLIGHT", "LIMIT", "ROWS/S", "TOKENS/S", "ADAPTERS"),
        *("READY SINCE", "REASON"),
    )
    print_table(
        columns,
        (
            (
                *(one.server_id, one.slot_id, one.url, one.state, model_of(one), one.in_flight, one.in_flight_limit),
                *(one.rows_per_second, one.tokens_per_second, len(one.warm_adapters), one.ready_time, one.reason),
            )
            for one in servers
        ),
    )


def model_of(server: "Server") -> str:
    """Return the catalogue's name of its model, or its own."""
    return server.base_model_id or server.model_id


def slot_reason(slot: "Slot") -> str:
    """Return why a slot runs what it runs, or why nothing; of a drained one what the operator said."""
    if not slot.drained:
        return slot.reason
    return f"drained: {slot.drain_reason}" if slot.drain_reason else "drained by an operator"


def show_memory(byte_count: int) -> str:
    """Return an amount of GPU memory; nothing where it is unknown."""
    return f"{byte_count / _GIB:,.0f} GiB" if byte_count else ""


class FleetTeller:
    """Says in lines what happens; how load changes from second to second is left out."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def lines(self, event: "FleetEvent") -> Iterator[str]:
        """Yield what an event has to say that was not said before."""
        from lorax_batch_client import (
            FleetSnapshot,
            QueueChanged,
            ServerChanged,
            ServerRemoved,
            SlotChanged,
            SlotRemoved,
        )

        match event:
            case FleetSnapshot():
                yield from self._snapshot(event)
            case SlotChanged(slot=slot):
                yield from self._news(f"slot {slot.slot_id}", _describe_slot(slot))
            case ServerChanged(server=server):
                yield from self._news(f"server {server.server_id}", _describe_server(server))
            case QueueChanged(queue=queue):
                yield from self._news(f"queue {queue.base_model_id}", _describe_queue(queue))
            case SlotRemoved(slot_id=slot_id):
                yield from self._gone(f"slot {slot_id}")
            case ServerRemoved(server_id=server_id):
                yield from self._gone(f"server {server_id}")

    def _snapshot(self, fleet: "FleetSnapshot") -> Iterator[str]:
        now = {f"slot {one.slot_id}": _describe_slot(one) for one in fleet.slots}
        now |= {f"server {one.server_id}": _describe_server(one) for one in fleet.servers}
        now |= {f"queue {one.base_model_id}": _describe_queue(one) for one in fleet.queues}
        for name in [*self._told.keys() - now.keys()]:
            yield from self._gone(name)
        for name, description in now.items():
            yield from self._news(name, description)

    def _news(self, name: str, description: str) -> Iterator[str]:
        if self._told.get(name) != description:
            self._told[name] = description
            yield f"{name}: {description}"

    def _gone(self, name: str) -> Iterator[str]:
        self._told.pop(name, None)
        yield f"{name}: gone"


def _describe_slot(slot: "Slot") -> str:
    hosts = ", ".join(slot.server_ids) or "no server"
    return f"{hosts}; {reason}" if (reason := slot_reason(slot)) else hosts


def _describe_server(server: "Server") -> str:
    parts = [server.state.value, f"on slot {server.slot_id}", model_of(server), server.reason]
    return ", ".join(part for part in parts if part)


def _describe_queue(queue: "Queue") -> str:
    if queue.is_empty:
        return "empty"
    return f"{show_count(queue.jobs_running, 'job')} running, {queue.jobs_queued:,} queued"
