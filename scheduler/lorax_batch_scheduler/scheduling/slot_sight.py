"""Slots and their servers as the planner sees them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.estimates import Estimates
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot
from lorax_batch_scheduler.packing import HostedServer, HostedState, SlotView
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.fleet_member import FleetMember
from lorax_batch_scheduler.scheduling.fleet_record import OtherFleets
from lorax_batch_scheduler.scheduling.learner import gpu_of

GIVING_S: Final = 30.0
"""A server may be without rows for so long before it counts as idle, while there are rows that it could be given."""
ANY_MEMORY: Final = 1 << 60
"""Of a slot that does not tell: everything fits."""


STATES: Final = {
    ServerState.STARTING: HostedState.STARTING,
    ServerState.UNREACHABLE: HostedState.STARTING,
    ServerState.READY: HostedState.READY,
    ServerState.SUSPECT: HostedState.READY,
    ServerState.DRAINING: HostedState.DRAINING,
    ServerState.DRAINED: HostedState.DRAINING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySeen:
    """A server configuration that jobs want or servers have."""

    base_model_id: str
    quantization: str

    @classmethod
    def of(cls, status: ServerStatus) -> "FamilySeen":
        """Return what a server runs."""
        quantization = status.config.quantization if status.config is not None else ""
        return cls(base_model_id=status.base_model_id or "", quantization=quantization)


def slot_here(
    slot: Slot,
    *,
    fleet: Fleet,
    families: Mapping[str, FamilySeen],
    with_rows: Collection[str],
    estimates: Estimates,
    now: float,
) -> SlotView:
    """Return a slot of this process.

    `families`: all that jobs want or servers have, by id; `with_rows`: those with rows that nobody runs.
    """
    members = {member.server_id: member for member in fleet.members if member.watch.slot.slot_id == slot.slot_id}
    servers: list[HostedServer] = []
    for launched in fleet.on_slot(slot.slot_id):
        member = members.get(launched.server_id)
        for family in families_on(member, launched.family, families):
            setup_s = estimates.setup_s(family, [gpu_of(slot)])[slot.gpu_kind]
            idle_since = _idle_since(member, now, has_rows=family in with_rows)
            servers.append(_hosted(launched, member, family, setup_s, now, idle_since))
    return SlotView(
        slot_id=slot.slot_id,
        kind=slot.gpu_kind,
        memory_bytes=slot.memory_bytes or ANY_MEMORY,
        servers=tuple(servers),
        unusable=_unusable(slot, fleet),
        fixed=slot.is_fixed,
    )


def slots_elsewhere(others: OtherFleets, *, families: Mapping[str, FamilySeen], now: float) -> list[SlotView]:
    """Return the slots of other schedulers. They carry out what is planned for them themselves, when they plan."""
    servers: dict[str, list[ServerStatus]] = {}
    for server in others.servers:
        servers.setdefault(server.slot.slot_id, []).append(server)
    return [
        SlotView(
            slot_id=status.slot.slot_id,
            kind=status.slot.gpu_kind,
            memory_bytes=status.slot.memory_bytes or ANY_MEMORY,
            servers=tuple(
                HostedServer(
                    server_id=server.server_id, family_id=family, state=STATES[server.state], since=now, ready_at=now
                )
                for server in servers.get(status.slot.slot_id, [])
                for family in families_told(server, families)
            ),
            unusable="drained" if status.drained else "its server is not ours to start" if status.slot.is_fixed else "",
            fixed=status.slot.is_fixed,
        )
        for status in others.slots
        if not status.drained or status.slot.slot_id in servers
    ]


def families_told(server: ServerStatus, families: Mapping[str, FamilySeen]) -> list[str]:
    """Return what a server of another scheduler hosts."""
    if server.config is not None:
        return [server.config.family(server.base_model_id or "")]
    return [name for name, seen in families.items() if seen.base_model_id == server.base_model_id]


def _idle_since(member: FleetMember | None, now: float, *, has_rows: bool) -> float | None:
    if member is None or member.idle_since is None:
        return None
    # One that has just become ready, or has just ended a job, is about to be given the rows that are there.
    return None if has_rows and now - member.idle_since < GIVING_S else member.idle_since


def _hosted(
    launched: LaunchedServer,
    member: FleetMember | None,
    family: str,
    setup_s: float,
    now: float,
    idle_since: float | None,
) -> HostedServer:
    if launched.state is LaunchState.STOPPING or (member is not None and member.leaving is not None):
        state = HostedState.DRAINING
    elif member is not None and member.ready_at is not None:
        state = HostedState.READY
    else:
        state = HostedState.STARTING
    since = member.since if member is not None else now
    ready_at = member.ready_at if member is not None and member.ready_at is not None else since + setup_s
    return HostedServer(
        server_id=launched.server_id,
        family_id=family,
        state=state,
        since=ready_at if state is HostedState.READY else since,
        ready_at=ready_at,
        idle_since=idle_since,
    )


def families_on(member: FleetMember | None, family: str, families: Mapping[str, FamilySeen]) -> list[str]:
    """Return what a server hosts: what it was started with, or all that a static one will do for."""
    if family:
        return [family]
    model = member.status().base_model_id if member is not None and member.ready_at is not None else None
    return [name for name, seen in families.items() if seen.base_model_id == model]


def _unusable(slot: Slot, fleet: Fleet) -> str:
    if slot.is_fixed:
        return "its server is not ours to start"
    return "drained" if slot.slot_id in fleet.drained else ""
