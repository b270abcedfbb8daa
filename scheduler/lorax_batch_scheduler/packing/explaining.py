"""Why jobs wait whose family has no server that is ready."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The slots that could have a server of families like one."""

    fit: Sequence[SlotView]
    open_now: Sequence[str]
    """The ids of those that can be used now."""
    closed: str
    """What is to be said of the others, behind what is said of those."""
    hosted: Sequence[tuple[int, str]]
    """Place and family of what has them, the strongest first."""


def explain(
    view: ClusterView, claims: Sequence[Claim], starts: Sequence[StartServer], freed_for: Mapping[str, str]
) -> list[ExplainJob]:
    """Return for each job without a ready server why it waits. `freed_for`: slot -> family."""
    ready = {server.family_id for slot in view.slots for server in slot.servers if server.state is HostedState.READY}
    wanted = {job.family_id for job in view.jobs} - ready
    places = {claim.family_id: place for place, claim in enumerate(claims)}
    coming = _coming(view, starts, freed_for)
    reasons: dict[str, str] = {}
    never: set[str] = set()
    choices: dict[tuple[object, ...], _Choice] = {}  # families that differ in nothing that matters here are many
    for family in view.families:
        name = family.family_id
        if name not in wanted:
            continue
        like = family.need_bytes, frozenset(family.setup_s), tuple(sorted(family.held_until.items()))
        if like not in choices:
            choices[like] = _choice(view, family, places)
        choice = choices[like]
        if not choice.fit:
            never.add(name)
        claim = claims[places[name]] if name in places else None
        if claim is not None and claim.most == 0:
            reasons[name] = _why_capped(view, claim)
        else:
            reasons[name] = coming.get(name) or _why(view, family, choice, places)
    return [
        ExplainJob(job_id=job.job_id, reason=reasons[job.family_id], never=job.family_id in never)
        for job in view.jobs
        if job.family_id in reasons
    ]


def _why_capped(view: ClusterView, claim: Claim) -> str:
    tenants = sorted({job.tenant for job in claim.jobs})
    caps = _named(f"{tenant} may have {view.caps[tenant]}" for tenant in tenants)
    return f"no slot is left for it: {caps} at a time, and more urgent jobs have them"


def _choice(view: ClusterView, family: FamilyView, places: Mapping[str, int]) -> _Choice:
    fit = [slot for slot in view.slots if not slot.fixed and can_host(slot, family)]
    open_now = [s for s in fit if not s.unusable and family.held_until.get(s.kind, 0.0) <= view.now]
    hosted = {server.family_id for slot in open_now for server in slot.servers}
    return _Choice(
        fit=fit,
        open_now=[slot.slot_id for slot in open_now],
        closed=_closed(view, family, fit),
        hosted=sorted((places.get(each, len(places)), each) for each in hosted),
    )


def _why(view: ClusterView, family: FamilyView, choice: _Choice, places: Mapping[str, int]) -> str:
    """Return why no server comes. `places`: of families, the strongest is 0."""
    name = family.family_id
    if not choice.fit:
        return _why_none_fits(view, family)
    if not choice.open_now:
        usable = [slot for slot in choice.fit if not slot.unusable]
        if not usable:
            return f"no slot that fits a server of {name} can be used now: {_unusable(choice.fit)}"
        return f"servers of {name}{choice.closed.removeprefix(';')}"
    stronger = bisect_left(choice.hosted, (places.get(name, 0), ""))
    serve = f"no slot is free: {_named(choice.open_now)} {'serves' if len(choice.open_now) == 1 else 'serve'}"
    if stronger:
        urgent = _named(each for _, each in choice.hosted[:stronger])
        return f"{serve} more urgent families ({urgent}){choice.closed}"
    families = _named(sorted(each for _, each in choice.hosted))
    return f"{serve} {families or 'others'}, and a switch does not pay yet{choice.closed}"


def _closed(view: ClusterView, family: FamilyView, fit: Iterable[SlotView]) -> str:
    """Return why some slots that fit can't be used now, each cause behind a semicolon; empty: all can."""
    failed, unusable = _failed(view, family, fit), _unusable(fit)
    return "".join(
        (f"; failed to start {failed}" if failed else "", f"; not usable now: {unusable}" if unusable else "")
    )


def _unusable(fit: Iterable[SlotView]) -> str:
    return _named(f"{slot.slot_id} ({slot.unusable})" for slot in fit if slot.unusable)


def _failed(view: ClusterView, family: FamilyView, fit: Iterable[SlotView]) -> str:
    """Return on which kinds of GPU a family is held back and why, the one that is tried next first."""
    held = {kind: until for kind, until in family.held_until.items() if until > view.now}
    kinds = sorted({slot.kind for slot in fit if not slot.unusable} & held.keys(), key=lambda kind: (held[kind], kind))

    def because(kind: str) -> str:
        known = family.held_because.get(kind)
        return known or f"the next try is in {held[kind] - view.now:.0f} s"

    return "; ".join(f"on {kind}: {because(kind)}" for kind in kinds[:NAMED])


def _coming(view: ClusterView, starts: Sequence[StartServer], freed_for: Mapping[str, str]) -> dict[str, str]:
    """Return by family what is known of the server that it gets next."""
    told: dict[str, str] = {}
    for slot in view.slots:
        for server in slot.servers:
            if server.state is HostedState.STARTING:
                left = _left(server.ready_at, view.now)
                name = server.family_id
                told.setdefault(name, f"a server of {name} starts on {slot.slot_id}: about {left} s left")
    kinds = {slot.slot_id: slot.kind for slot in view.slots}
    families = {family.family_id: family for family in view.families}
    for start in starts:
        name = start.family_id
        seconds = families[name].setup_s[kinds[start.slot_id]]
        told.setdefault(name, f"a server of {name} is being started on {start.slot_id}: about {seconds:.0f} s")
    for slot_id, name in freed_for.items():
        told.setdefault(name, f"slot {slot_id} is being freed for a server of {name}")
    return told


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
