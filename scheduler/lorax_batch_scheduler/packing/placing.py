"""Which family each slot hosts, and in which order jobs are served: set-up-aware and fair, as a pure function.

Claims by falling index take idle slots, then slots whose own claim is much weaker and that have paid back their
set-up. One more slot is worth it only while the work on each outlasts its set-up by a margin. Families that still have
no server share the slot of another where memory allows it.
"""

import heapq
from collections.abc import Callable
from typing import Final

from lorax_batch_scheduler.packing.caps import set_caps
from lorax_batch_scheduler.packing.claims import Claim, make_claims
from lorax_batch_scheduler.packing.cluster import (
    ClusterView,
    DrainServer,
    FamilyView,
    HostedServer,
    HostedState,
    PlaceAction,
    ServeJobs,
    SlotView,
    StartServer,
)
from lorax_batch_scheduler.packing.explaining import explain
from lorax_batch_scheduler.packing.knobs import DEFAULT_KNOBS, Knobs
from lorax_batch_scheduler.packing.room import can_host, free_bytes, part_for

IDLE: Final = -1.0
"""What is lost with a slot whose servers have no rows: less than with any other."""


def plan(view: ClusterView, knobs: Knobs = DEFAULT_KNOBS) -> list[PlaceAction]:
    """Return what to start and to drain, the order of jobs in each family, and why jobs without a server wait.

    The same view gives the same plan; ties go by id. A slot that is drained here is started anew by a later plan.
    """
    return _Placing(view, knobs).actions()


class _Placing:
    def __init__(self, view: ClusterView, knobs: Knobs) -> None:
        self._view = view
        self._knobs = knobs
        self._families = {family.family_id: family for family in view.families}
        self._claims = make_claims(view, knobs)
        set_caps(self._claims, view.caps, knobs.idle_margin)
        self._claim_of = {claim.family_id: claim for claim in self._claims}
        usable = [slot for slot in view.slots if not slot.unusable and not slot.fixed]
        self._usable_count = len(usable)
        self._free = {slot.slot_id: slot for slot in usable if not slot.servers}
        # Their servers end already: whoever comes first has them as good as idle, and takes no other meanwhile.
        self._ending = {slot.slot_id: slot for slot in usable if slot.servers and all(map(_drains, slot.servers))}
        self._at_work = [slot for slot in usable if slot.servers]
        self._starts: dict[tuple[str, str], StartServer] = {}
        self._drains: list[DrainServer] = []
        self._taken: dict[str, str] = {}
        """Slot -> the family that it is freed for."""
        self._budget_s = view.switching_budget_s

    def actions(self) -> list[PlaceAction]:
        self._obey_caps()
        self._takeable = {slot.slot_id: slot for slot in self._at_work if self._may_be_taken(slot)}
        self._losses = {slot_id: self._loss(slot) for slot_id, slot in self._takeable.items()}
        self._least_loss = min(self._losses.values(), default=float("inf"))
        self._auction(lambda claim: self._take_idle(claim) or self._take_busy(claim))
        for claim in self._claims:
            claim.part = float("inf")
        self._auction(self._take_idle)
        # With a slot for each family a turn on a whole slot is sooner over than a stay on a part of one.
        if len(self._claims) > self._usable_count:
            self._share_slots()
        self._release_idle()
        orders = [
            ServeJobs(family_id=claim.family_id, job_ids=tuple(job.job_id for job in claim.jobs), window=claim.window)
            for claim in self._claims
        ]
        starts = list(self._starts.values())
        return [*orders, *self._drains, *starts, *explain(self._view, self._claims, starts, self._taken)]

    def _wants_more(self, claim: Claim, setup_s: float, margin: float) -> bool:
        """Tell whether a family wants one more slot: always a first one, and others while its work outlasts a start."""
        if claim.hosts >= claim.most:
            return False
        if claim.hosts == 0 or claim.capacity < claim.needed:
            return True
        return claim.capacity < claim.part and claim.capacity * margin * setup_s <= claim.work_s

    def _auction(self, take: Callable[[Claim], bool]) -> None:
        """Let families take slots one by one; each time the one whose next slot would do the most urgent work."""
        queue = [(-claim.next_urgency(), claim.family_id, claim) for claim in self._claims]
        heapq.heapify(queue)
        while queue:
            claim = heapq.heappop(queue)[2]
            if take(claim):
                heapq.heappush(queue, (-claim.next_urgency(), claim.family_id, claim))

    def _take_idle(self, claim: Claim) -> bool:
        """Take an idle slot, if the family wants one; tell whether it has."""
        family = claim.family
        best: SlotView | None = None
        least = (float("inf"), "")
        for slot in (*self._free.values(), *self._ending.values()):
            if self._fits(slot, family) and self._wants_more(claim, family.setup_s[slot.kind], self._knobs.idle_margin):
                cost = self._ends_in(claim, slot), slot.slot_id
                if best is None or cost < least:
                    best, least = slot, cost
        if best is None:
            return False
        claim.add(best.kind)
        if self._free.pop(best.slot_id, None) is not None:
            self._start(claim, best, best.memory_bytes, "the slot is idle")
        else:
            del self._ending[best.slot_id]
            self._taken[best.slot_id] = family.family_id
        return True

    def _take_busy(self, claim: Claim) -> bool:
        """Take the slot from servers where most is gained against what is lost, if it pays; tell whether it has."""
        family = claim.family
        if not self._wants_more(claim, min(family.setup_s.values()), self._knobs.idle_margin):
            return False
        gains = {kind: claim.gain(kind) for kind in family.setup_s}
        if max(gains.values()) < self._least_loss * self._knobs.strength:
            return False
        best: tuple[float, str, SlotView] | None = None
        for slot in self._takeable.values():
            loss, gain = self._losses[slot.slot_id], gains.get(slot.kind, 0.0)
            if gain <= self._knobs.strength * loss or not self._fits(slot, family):
                continue
            if any(server.family_id == family.family_id for server in slot.servers):
                continue
            if self._pays(claim, slot, loss):
                key = self._price(claim, slot, gain, loss), slot.slot_id, slot
                best = key if best is None or key[:2] < best[:2] else best
        if best is None:
            return False
        slot = best[2]
        if self._losses[slot.slot_id] != IDLE:
            self._budget_s -= family.setup_s[slot.kind]
        self._take(claim, slot, gains[slot.kind])
        claim.add(slot.kind)
        return True

    def _price(self, claim: Claim, slot: SlotView, gain: float, loss: float) -> float:
        """Return what is lost against what is gained, from the start on until the family's jobs have ended."""
        setup_s = claim.family.setup_s[slot.kind]
        work_s = max(self._ends_in(claim, slot) - setup_s, 1e-9)
        return loss / max(gain, 1e-12) * (setup_s + work_s) / work_s

    def _pays(self, claim: Claim, slot: SlotView, loss: float) -> bool:
        setup_s = claim.family.setup_s[slot.kind]
        if loss == IDLE:
            return self._wants_more(claim, setup_s, self._knobs.idle_margin)
        if self._budget_s < setup_s:
            return False
        return self._wants_more(claim, setup_s, self._knobs.busy_margin)

    def _may_be_taken(self, slot: SlotView) -> bool:
        if slot.slot_id in self._taken or any(server.state is not HostedState.READY for server in slot.servers):
            return False
        return _idles(slot) or all(self._has_paid_back(slot, server) for server in slot.servers)

    def _take(self, claim: Claim, slot: SlotView, gain: float) -> None:
        self._taken[slot.slot_id] = claim.family_id
        del self._takeable[slot.slot_id]
        why = self._why_take(slot, gain)
        losers = {server.family_id for server in slot.servers}
        for server in slot.servers:
            self._drain(slot, server, f"{claim.family_id} needs the slot: {why}")
            loser = self._claim_of.get(server.family_id)
            if loser is not None:
                loser.add(slot.kind, -1)
        for other in self._takeable.values():
            if any(server.family_id in losers for server in other.servers):
                self._losses[other.slot_id] = self._loss(other)
        self._least_loss = min((self._losses[each] for each in self._takeable), default=float("inf"))

    def _why_take(self, slot: SlotView, gain: float) -> str:
        here = self._losses[slot.slot_id]
        if here == IDLE:
            return "nothing to do here"
        if here <= 0:
            return "no job is left for what runs here"
        return f"what it would do here is {gain / here:.1f} times as urgent as what is done"

    def _share_slots(self) -> None:
        """Start servers beside others, where they leave memory or start only now: slower than alone, but not last."""
        starting: dict[str, list[FamilyView]] = {}
        for slot_id, family_id in self._starts:
            starting.setdefault(slot_id, []).append(self._families[family_id])
        slots = {slot.slot_id: slot for slot in self._view.slots if not slot.unusable and not slot.fixed}
        room = {
            slot_id: slot.memory_bytes - sum(family.need_bytes for family in starting.get(slot_id, ()))
            if not slot.servers
            else free_bytes(slot)
            for slot_id, slot in slots.items()
            if slot_id not in self._taken and (slot.servers or slot_id in starting)
        }
        for claim in self._claims:
            if claim.hosts > 0 or claim.most <= 0:
                continue
            family = claim.family
            fit = [slots[each] for each, free in room.items() if free >= family.need_bytes]
            fit = [
                slot
                for slot in fit
                if self._fits(slot, family) and claim.work_s >= self._knobs.idle_margin * family.setup_s[slot.kind]
            ]
            if not fit:
                continue
            slot = min(fit, key=lambda slot: (self._ends_in(claim, slot), slot.slot_id))
            claim.add(slot.kind)
            if slot.servers:
                self._start(claim, slot, free_bytes(slot), "there is memory beside the others")
                del room[slot.slot_id]
                continue
            here = starting[slot.slot_id]
            here.append(family)
            room[slot.slot_id] -= family.need_bytes
            parts = part_for(here, slot.memory_bytes)
            for each in here:
                self._start(self._claim_of[each.family_id], slot, parts[each.family_id], "shares the slot")

    def _obey_caps(self) -> None:
        """Stop servers that are more than a cap allows, those without rows and then the latest first."""
        for claim in self._claims:
            if claim.hosts <= claim.most:
                continue
            hosting = [
                (server.idle_since is None, -server.since, slot.slot_id, slot, server)
                for slot in self._at_work
                for server in slot.servers
                if server.family_id == claim.family_id and server.state is not HostedState.DRAINING
            ]
            for *_, slot, server in sorted(hosting, key=lambda each: each[:3])[: claim.hosts - claim.most]:
                self._drain(slot, server, f"the tenants of {claim.family_id} may have {claim.most} slots")
                self._taken.setdefault(slot.slot_id, "")
                claim.add(slot.kind, -1)

    def _release_idle(self) -> None:
        """Stop servers that have had nothing to do for as long as another start would take."""
        for slot in self._at_work:
            for server in slot.servers:
                idle_s = self._view.now - server.idle_since if server.idle_since is not None else 0.0
                over = idle_s > self._knobs.idle_release * self._setup_s(slot, server)
                if over and server.state is HostedState.READY and slot.slot_id not in self._taken:
                    self._drain(slot, server, f"nothing to do for {idle_s:.0f} s")

    def _has_paid_back(self, slot: SlotView, server: HostedServer) -> bool:
        return self._view.now - server.since >= self._knobs.payback * self._setup_s(slot, server)

    def _setup_s(self, slot: SlotView, server: HostedServer) -> float:
        family = self._families.get(server.family_id)
        return family.setup_s.get(slot.kind, 0.0) if family is not None else 0.0

    def _loss(self, slot: SlotView) -> float:
        """Return how urgent the work is that would be done in a second less without the slot."""
        if _idles(slot):
            return IDLE
        claims = [self._claim_of.get(server.family_id) for server in slot.servers]
        return max((claim.loss(slot.kind) for claim in claims if claim is not None), default=0.0)

    def _fits(self, slot: SlotView, family: FamilyView) -> bool:
        return can_host(slot, family) and family.held_until.get(slot.kind, 0.0) <= self._view.now

    def _ends_in(self, claim: Claim, slot: SlotView) -> float:
        """Return how long a family's jobs take with one more slot: its start, then all its servers together."""
        speed = claim.speeds.get(slot.kind, 0.0)
        return claim.family.setup_s[slot.kind] + claim.work_s / max(claim.capacity + speed, 1e-9)

    def _start(self, claim: Claim, slot: SlotView, memory_bytes: int, where: str) -> None:
        jobs = f"{len(claim.jobs)} jobs" if len(claim.jobs) > 1 else "1 job"
        self._starts[slot.slot_id, claim.family_id] = StartServer(
            slot_id=slot.slot_id,
            family_id=claim.family_id,
            memory_bytes=memory_bytes,
            reason=f"{jobs} with {claim.work_s:.0f} slot-seconds of work; {where}",
        )

    def _drain(self, slot: SlotView, server: HostedServer, reason: str) -> None:
        self._drains.append(DrainServer(server_id=server.server_id, slot_id=slot.slot_id, reason=reason))


def _drains(server: HostedServer) -> bool:
    return server.state is HostedState.DRAINING


def _idles(slot: SlotView) -> bool:
    return all(server.idle_since is not None for server in slot.servers)
