"""One picture of the fleet, for a terminal or a pipe. Imports rich: only for commands that draw."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from lorax_batch_client import FleetSnapshot, Queue, Server, ServerState, Slot
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lorax_batch_server.cli.fleet_view import model_of, slot_reason
from lorax_batch_server.cli.output import show_count
from lorax_batch_server.printable import printable

_STYLES: Final = {
    ServerState.READY: "green",
    ServerState.STARTING: "cyan",
    ServerState.SUSPECT: "yellow",
    ServerState.UNREACHABLE: "red",
    ServerState.DRAINING: "yellow",
    ServerState.DRAINED: "yellow",
}
_SLOT_COLUMNS: Final = ("SLOT", "BASE MODEL", "STATE", "IN FLIGHT", "ROWS/S", "TOKENS/S", "WARM", "REASON")
_QUEUE_COLUMNS: Final = ("QUEUE", "SERVERS", "RUNNING", "QUEUED", "ROWS LEFT", "TOKENS LEFT")
_OTHER_LINES: Final = 6
"""The totals, two headings, two empty lines, and the one that says how many slots are not shown."""
_MIN_LINES: Final = 3


def frame(fleet: FleetSnapshot, *, height: int | None = None, trouble: str = "") -> RenderableType:
    """Return the picture; with a height, as many slots as leave room for the queues."""
    servers = sorted(fleet.servers, key=lambda server: server.server_id)
    lines = list(_slot_lines(fleet.slots, servers))
    queues = sorted(fleet.queues, key=lambda queue: queue.base_model_id)
    parts: list[RenderableType] = [Text(trouble or _totals(fleet), style="bold red" if trouble else "bold"), Text()]
    shown = len(lines) if height is None else max(height - _OTHER_LINES - len(queues), _MIN_LINES)
    parts.append(_table(_SLOT_COLUMNS, lines[:shown]))
    if len(lines) > shown:
        parts.append(Text(f"and {len(lines) - shown:,} more", style="dim"))
    parts += [Text(), _table(_QUEUE_COLUMNS, list(_queue_lines(queues, servers)))]
    return Group(*parts)


def _totals(fleet: FleetSnapshot) -> str:
    ready = sum(server.state is ServerState.READY for server in fleet.servers)
    drained = sum(slot.drained for slot in fleet.slots)
    return ", ".join(
        [
            show_count(len(fleet.slots), "slot") + (f" ({drained:,} drained)" if drained else ""),
            f"{show_count(len(fleet.servers), 'server')} ({ready:,} ready)",
            f"{sum(server.in_flight for server in fleet.servers):,} rows in flight",
            f"{sum(server.rows_per_second for server in fleet.servers):,.1f} rows/s",
            f"{sum(server.tokens_per_second for server in fleet.servers):,.0f} tokens/s",
            f"{sum(len(server.warm_adapters) for server in fleet.servers):,} adapters warm",
            f"{sum(queue.rows_left for queue in fleet.queues):,} rows left",
        ]
    )


def _slot_lines(slots: Sequence[Slot], servers: Sequence[Server]) -> Iterator[tuple[Text, ...]]:
    """Yield a line for each server under its slot, and one for each slot without any."""
    for slot in sorted(slots, key=lambda slot: slot.slot_id):
        hosted = [server for server in servers if server.slot_id == slot.slot_id]
        if not hosted:
            state = Text("drained", style="yellow") if slot.drained else Text("free", style="dim")
            yield (
                *_texts(slot.slot_id, slot.declared_model),
                state,
                *_numbers("", "", "", ""),
                *_texts(slot_reason(slot)),
            )
        for server in hosted:
            yield _server_line(slot, server)


def _server_line(slot: Slot, server: Server) -> tuple[Text, ...]:
    state = Text(server.state.value, style=_STYLES.get(server.state, ""))
    if slot.drained and server.state is not ServerState.DRAINED:
        state.append(" (drained)", style="yellow")
    numbers = _numbers(
        f"{server.in_flight:,}/{server.in_flight_limit:,}",
        f"{server.rows_per_second:,.1f}",
        f"{server.tokens_per_second:,.0f}",
        f"{len(server.warm_adapters):,}",
    )
    reason = server.reason or slot_reason(slot)
    return (*_texts(slot.slot_id, model_of(server)), state, *numbers, *_texts(reason))


def _queue_lines(queues: Sequence[Queue], servers: Sequence[Server]) -> Iterator[tuple[Text, ...]]:
    hosting = Counter(server.base_model_id for server in servers if server.state is ServerState.READY)
    for queue in queues:
        counts = (hosting[queue.base_model_id], queue.jobs_running, queue.jobs_queued, queue.rows_left)
        yield (
            *_texts(queue.base_model_id),
            *_numbers(*(f"{count:,}" for count in (*counts, queue.tokens_left))),
        )
    if not queues:
        yield (Text("nothing waits or runs", style="dim"), *_numbers("", "", "", "", ""))


def _table(columns: Sequence[str], lines: Sequence[tuple[Text, ...]]) -> Table:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = True
    for line in lines:
        table.add_row(*line)
    return table


def _texts(*cells: str) -> Iterator[Text]:
    return (Text(printable(cell)) for cell in cells)


def _numbers(*cells: str) -> Iterator[Text]:
    return (Text(cell, justify="right") for cell in cells)
