"""Why jobs wait whose family has no server that is ready."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lorax_batch_scheduler.packing.claims import Claim
from lorax_batch_scheduler.packing.cluster import (
    ClusterView,
    ExplainJob,
    FamilyView,
    HostedState,
    SlotView,
    StartServer,
)
from lorax_batch_scheduler.packing.room import can_host

GIB: Final = 1 << 30
NAMED: Final = 3
"""So many slots or families are named in a reason; the rest is counted."""


def explain(
    view: ClusterView, claims: Sequence[Claim], starts: Sequence[StartServer], freed_for: Mapping[str, str]
) -> list[ExplainJob]:
    """Return for each job without a ready server why it waits. `freed_for`: slot -> family."""
    ready = {server.family_id for slot in view.slots for server in slot.servers if server.state is HostedState.READY}
    strongest = [claim.family_id for claim in claims]
    reasons: dict[str, str] = {}
    never: set[str] = set()
    for family in view.families:
        if family.family_id not in ready:
            before = strongest[: strongest.index(family.family_id)] if family.family_id in strongest else []
            claim = next((claim for claim in claims if claim.family_id == family.family_id), None)
            capped = claim is not None and claim.most == 0 and _why_capped(view, claim)
            reasons[family.family_id] = capped or _why(view, family, starts, freed_for, before)
            if not any(can_host(slot, family) and not slot.fixed for slot in view.slots):
                never.add(family.family_id)
    return [
        ExplainJob(job_id=job.job_id, reason=reasons[job.family_id], never=job.family_id in never)
        for job in view.jobs
        if job.family_id in reasons
    ]


def _why_capped(view: ClusterView, claim: Claim) -> str:
    tenants = sorted({job.tenant for job in claim.jobs})
    caps = _named(f"{tenant} may have {view.caps[tenant]}" for tenant in tenants)
    return f"waiting for a slot: {caps} at a time, and more urgent jobs have them"


def _why(
    view: ClusterView,
    family: FamilyView,
    starts: Sequence[StartServer],
    freed_for: Mapping[str, str],
    before: Sequence[str],
) -> str:
    name = family.family_id
    coming = _coming(view, family, starts, freed_for)
    if coming:
        return coming
    fit = [slot for slot in view.slots if can_host(slot, family) and not slot.fixed]
    if not fit:
        return _why_none_fits(view, family)
    usable = [slot for slot in fit if not slot.unusable]
    if not usable:
        told = _named(f"{slot.slot_id} ({slot.unusable})" for slot in fit)
        return f"no slot that fits a server of {name} can be used now: {told}"
    open_now = [slot for slot in usable if family.held_until.get(slot.kind, 0.0) <= view.now]
    if not open_now:
        again = min(family.held_until[slot.kind] for slot in usable) - view.now
        kinds = _named(sorted({slot.kind for slot in usable}))
        return f"servers of {name} failed to start on {kinds}; the next try is in {again:.0f} s"
    slots = _named(slot.slot_id for slot in open_now)
    hosted = {server.family_id for slot in open_now for server in slot.servers}
    urgent = [each for each in before if each in hosted]
    if urgent:
        return f"waiting for a slot: {slots} serve more urgent families ({_named(urgent)})"
    families = _named(sorted(hosted))
    return f"waiting for a slot: {slots} serve {families or 'others'}, and a switch does not pay yet"


def _coming(view: ClusterView, family: FamilyView, starts: Sequence[StartServer], freed_for: Mapping[str, str]) -> str:
    name = family.family_id
    for slot in view.slots:
        for server in slot.servers:
            if server.family_id == name and server.state is HostedState.STARTING:
                return f"a server of {name} starts on {slot.slot_id}: about {_left(server.ready_at, view.now)} s left"
    kinds = {slot.slot_id: slot.kind for slot in view.slots}
    for start in starts:
        if start.family_id == name:
            seconds = family.setup_s[kinds[start.slot_id]]
            return f"a server of {name} is being started on {start.slot_id}: about {seconds:.0f} s"
    freed = next((slot for slot, wanted in freed_for.items() if wanted == name), None)
    return f"slot {freed} is being freed for a server of {name}" if freed is not None else ""


def _why_none_fits(view: ClusterView, family: FamilyView) -> str:
    name = family.family_id
    startable = [slot for slot in view.slots if not slot.fixed]
    if not startable:
        return f"no server of {name} is ready, and there is no slot to start one on"
    of_kind = [slot for slot in startable if slot.kind in family.setup_s]
    if not of_kind:
        kinds = _named(sorted({slot.kind for slot in startable}))
        return f"no slot is of a GPU kind that a server of {name} runs on; the slots are of {kinds}"
    largest = max(of_kind, key=_memory)
    need, most = family.need_bytes / GIB, largest.memory_bytes / GIB
    return (
        f"a server of {name} needs {need:.1f} GiB; the largest slot, {largest.slot_id}, has {most:.1f} GiB: "
        "ask for a quantization or a smaller model, or give the fleet a larger slot"
    )


def _memory(slot: SlotView) -> int:
    return slot.memory_bytes


def _left(ready_at: float, now: float) -> str:
    return f"{max(ready_at - now, 0):.0f}"


def _named(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more
