"""Slots and servers that a scheduler could have, and a scheduler that says it has them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from lorax_batch_scheduler.fleet import ServerLimits, ServerState, ServerStatus, Slot, SlotStatus
from lorax_batch_scheduler.ports import FleetReport, FleetStore, LeaseStore

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LIMITS = ServerLimits(model_id="mistralai/Mistral-7B-v0.1", max_concurrent_requests=128, max_total_tokens=4096)
GIB = 1 << 30


def slot(number: int = 1, *server_ids: str, reason: str = "") -> SlotStatus:
    """Return a slot that servers can be started on."""
    return SlotStatus(
        slot=Slot(slot_id=f"slot_{number}", kind="command", gpu_kind="a100-80", memory_bytes=80 * GIB, node="host-1"),
        server_ids=server_ids,
        reason=reason,
        update_time=NOW,
    )


def server(
    server_id: str = "server_1", on: int = 1, state: ServerState = ServerState.READY, in_flight: int = 3
) -> ServerStatus:
    """Return a server."""
    known = state in (ServerState.READY, ServerState.SUSPECT, ServerState.DRAINING)
    return ServerStatus(
        server_id=server_id,
        slot=slot(on).slot,
        url=f"http://127.0.0.1:80{on}" if known else "",
        state=state,
        reason="" if known else "loads its model",
        limits=LIMITS if known else None,
        base_model_id="mistral-7b",
        in_flight=in_flight,
        in_flight_limit=32,
        rows_per_second=1.5,
        tokens_per_second=300.0,
        warm_adapters=["a"] if known else [],
        row_latency_s=0.25 if known else None,
        ready_time=NOW if known else None,
        update_time=NOW,
    )


def report(slots: Sequence[SlotStatus] = (), servers: Sequence[ServerStatus] = ()) -> FleetReport:
    """Return what a scheduler says that has just these."""
    return FleetReport(
        slots=slots,
        servers=servers,
        slot_ids=[status.slot.slot_id for status in slots],
        server_ids=[status.server_id for status in servers],
    )


async def furnish(
    leases: LeaseStore,
    fleet: FleetStore,
    slots: Sequence[SlotStatus] = (),
    servers: Sequence[ServerStatus] = (),
    *,
    scheduler_id: str = "scheduler_1",
    lease_s: float = 60.0,
) -> None:
    """Let a new scheduler say that it has these."""
    await leases.register_scheduler(scheduler_id, timedelta(seconds=lease_s), exclusive=False)
    await fleet.record(scheduler_id, report(slots, servers))
