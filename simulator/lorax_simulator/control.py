"""What no real server has: `/_simulator/...`, by which tests change faults and read what happened."""

import os
from urllib.parse import parse_qs

import msgspec

from lorax_simulator.connection import Connection, Request
from lorax_simulator.faults import FaultError, parse_fault
from lorax_simulator.server import Server


class FaultsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which faults to switch on and off, by their command-line words and names; `clear` comes first."""

    clear: bool = False
    on: list[str] = []
    off: list[str] = []


def show_faults(server: Server, _request: Request, connection: Connection) -> None:
    """List the faults that are on."""
    connection.answer(200, msgspec.json.encode({"faults": server.faults.listing()}))


def change_faults(server: Server, request: Request, connection: Connection) -> None:
    """Switch faults on and off."""
    try:
        wanted = msgspec.json.decode(request.body, type=FaultsBody)
        switched_on = [parse_fault(text) for text in wanted.on]
    except (msgspec.DecodeError, FaultError) as error:
        connection.answer(400, msgspec.json.encode({"error": str(error)}))
        return
    if wanted.clear:
        server.faults.clear()
    for name in wanted.off:
        server.faults.switch_off(name)
    for fault in switched_on:
        server.faults.switch_on(fault)
    server.driver.nudge()
    show_faults(server, request, connection)


def abort(server: Server, _request: Request, connection: Connection) -> None:
    """Abort the router now: every connection but this one is reset, then comes a cold start."""
    connection.answer(200, msgspec.json.encode({"aborted": True}))
    connection.close()
    server.connections.discard(connection)
    server.abort()


def show_requests(server: Server, request: Request, connection: Connection) -> None:
    """Tell how often each row was received and answered; `?key=K` for one row."""
    journal = server.journal
    keys = parse_qs(request.query).get("key")
    shown = {
        "received": {key: journal.received[key] for key in keys} if keys else dict(journal.received),
        "answered": {key: journal.answered[key] for key in keys} if keys else dict(journal.answered),
    }
    connection.answer(200, msgspec.json.encode(shown))


def show_stats(server: Server, _request: Request, connection: Connection) -> None:
    """Tell what happened since the process started, over all simulated lives."""
    engine, journal, totals = server.engine, server.journal, server.totals
    times = os.times()
    shown = {
        "rows_received": journal.rows_received,
        "rows_answered": journal.statuses[200],
        "rows_by_status": {str(status): count for status, count in sorted(journal.statuses.items())},
        "prompt_tokens": journal.prompt_tokens,
        "completion_tokens": journal.completion_tokens,
        "adapter_downloads": totals.downloads + engine.loaded.downloads,
        "adapter_loads": totals.loads + engine.loaded.loads,
        "adapter_evictions": totals.offloads + engine.loaded.offloads,
        "adapters": {adapter.id: adapter.status.value for adapter in engine.pool.known.values()},
        "restarts": totals.restarts,
        "hung_up_while_loading": totals.hung_up_while_loading + engine.hung_up_while_loading,
        "faults_fired": dict(server.faults.fired),
        "running": len(engine.running),
        "waiting": engine.pool.waiting,
        "permits_taken": server.permits.taken,
        "free_blocks": engine.blocks.free,
        "connections": len(server.connections),
        "cpu_seconds": times.user + times.system,
    }
    connection.answer(200, msgspec.json.encode(shown))
