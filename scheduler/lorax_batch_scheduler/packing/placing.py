"""Which family each slot hosts, and in which order jobs are served: set-up-aware and fair, as a pure function.

Claims by falling index take idle slots, then slots whose own claim is much weaker and that have paid back their
set-up. One more slot is worth it only while the work on each outlasts its set-up by a margin. Families that still have
no server share the slot of another where memory allows it.
"""

from lorax_batch_scheduler.packing.caps import set_caps
from lorax_batch_scheduler.packing.claims import Claim, count_kinds, make_claims
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
from lorax_batch_scheduler.packing.kind_prices import kind_prices
from lorax_batch_scheduler.packing.knobs import DEFAULT_KNOBS, Knobs
from lorax_batch_scheduler.packing.room import can_host, free_bytes, part_for


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
        self._prices = kind_prices(view, count_kinds(view.slots))
        self._claims = make_claims(view, knobs)
        set_caps(self._claims, view.caps, knobs.idle_margin)
        self._claim_of = {claim.family_id: claim for claim in self._claims}
        usable = [slot for slot in view.slots if not slot.unusable and not slot.fixed]
        self._usable_count = len(usable)
        self._free = {slot.slot_id: slot for slot in usable if not slot.servers}
        # Their servers end already: whoever comes first has them as good as idle, and takes no other meanwhile.
        self._ending = {slot.slot_id: slot for slot in usable if slot.servers and all(map(_drains, slot.servers))}
        self._at_work = [slot for slot in usable if slot.servers]
        self._strengths = {slot.slot_id: self._strength(slot) for slot in self._at_work}
        self._starts: dict[tuple[str, str], StartServer] = {}
        self._drains: list[DrainServer] = []
        self._taken: dict[str, str] = {}
        """Slot -> the family that it is freed for."""
        self._budget_s = view.switching_budget_s

    def actions(self) -> list[PlaceAction]:
        self._obey_caps()
        for claim in self._claims:
            self._take_idle(claim)
            self._take_busy(claim)
        for claim in self._claims:
            claim.part = len(self._view.slots)
            self._take_idle(claim)
        # With a slot for each family a turn on a whole slot is sooner over than a stay on a part of one.
        if len(self._claims) > self._usable_count:
            for claim in self._claims:
                if claim.hosts == 0 and claim.most > 0:
                    self._share_slot(claim)
        self._release_idle()
        orders = [
            ServeJobs(family_id=claim.family_id, job_ids=tuple(job.job_id for job in claim.jobs), window=claim.window)
            for claim in self._claims
        ]
        starts = list(self._starts.values())
        return [*orders, *self._drains, *starts, *explain(self._view, self._claims, starts, self._taken)]

    def _wants_more(self, claim: Claim, setup_s: float, margin: float) -> bool:
        n = claim.hosts + 1
        if n > min(claim.part, claim.most):
            return False
        return n <= max(claim.needed, 1) or n <= claim.work_s / (margin * max(setup_s, 1e-9)) + 1

    def _take_idle(self, claim: Claim) -> None:
        family = claim.family
        fit = [slot for slot in (*self._free.values(), *self._ending.values()) if self._fits(slot, family)]
        for slot in sorted(fit, key=lambda slot: (self._cost(claim, slot), slot.slot_id)):
            if not self._wants_more(claim, family.setup_s[slot.kind], self._knobs.idle_margin):
                return
            claim.hosts += 1
            if self._free.pop(slot.slot_id, None) is not None:
                self._start(claim, slot, slot.memory_bytes, "the slot is idle")
            else:
                del self._ending[slot.slot_id]
                self._taken[slot.slot_id] = family.family_id

    def _take_busy(self, claim: Claim) -> None:
        family = claim.family
        if claim.hosts >= claim.part:
            return
        fit = [slot for slot in self._at_work if slot.slot_id not in self._taken and self._fits(slot, family)]
        for slot in sorted(fit, key=lambda slot: (self._strengths[slot.slot_id], slot.slot_id)):
            idle = all(server.idle_since is not None for server in slot.servers)
            setup_s = family.setup_s[slot.kind]
            if not self._wants_more(claim, setup_s, self._knobs.idle_margin if idle else self._knobs.busy_margin):
                return
            if self._may_take(claim, slot, idle=idle):
                if not idle:
                    self._budget_s -= setup_s
                claim.hosts += 1
                self._take(claim, slot, idle=idle)

    def _may_take(self, claim: Claim, slot: SlotView, *, idle: bool) -> bool:
        own = claim.family_id
        if any(server.family_id == own or server.state is not HostedState.READY for server in slot.servers):
            return False
        if idle:
            return True
        paid = all(self._has_paid_back(slot, server) for server in slot.servers)
        enough = self._budget_s >= claim.family.setup_s[slot.kind]
        return paid and enough and claim.index > self._knobs.strength * self._strengths[slot.slot_id]

    def _take(self, claim: Claim, slot: SlotView, *, idle: bool) -> None:
        self._taken[slot.slot_id] = claim.family_id
        for server in slot.servers:
            self._drain(slot, server, f"{claim.family_id} needs the slot: {self._why_take(claim, slot, idle=idle)}")
            loser = self._claim_of.get(server.family_id)
            if loser is not None:
                loser.hosts -= 1

    def _why_take(self, claim: Claim, slot: SlotView, *, idle: bool) -> str:
        if idle:
            return "nothing to do here"
        here = self._strengths[slot.slot_id]
        if here <= 0:
            return "no job is left for what runs here"
        return f"its jobs are {claim.index / here:.1f} times as urgent as those served here"

    def _share_slot(self, claim: Claim) -> None:
        """Start a server beside others, where they leave memory or start only now: slower than alone, but not last."""
        family = claim.family
        for slot in sorted(self._view.slots, key=lambda slot: (self._cost(claim, slot), slot.slot_id)):
            if slot.unusable or slot.fixed or slot.slot_id in self._taken or not self._fits(slot, family):
                continue
            if claim.work_s < self._knobs.idle_margin * family.setup_s[slot.kind]:
                continue
            starting = [start for (slot_id, _), start in self._starts.items() if slot_id == slot.slot_id]
            if not starting:
                if slot.servers and free_bytes(slot) >= family.need_bytes:
                    self._start(claim, slot, free_bytes(slot), "there is memory beside the others")
                    return
                continue
            parts = part_for([*(self._families[each.family_id] for each in starting), family], slot.memory_bytes)
            if parts is None or slot.servers:
                continue
            for each in starting:
                self._start(self._claim_of[each.family_id], slot, parts[each.family_id], "shares the slot")
            self._start(claim, slot, parts[family.family_id], "shares the slot")
            return

    def _obey_caps(self) -> None:
        """Stop servers that are more than a cap allows, those without rows and then the latest first."""
        for claim in self._claims:
            hosting = [
                (server.idle_since is None, -server.since, slot.slot_id, slot, server)
                for slot in self._at_work
                for server in slot.servers
                if server.family_id == claim.family_id and server.state is not HostedState.DRAINING
            ]
            for *_, slot, server in sorted(hosting, key=lambda each: each[:3])[: max(claim.hosts - claim.most, 0)]:
                self._drain(slot, server, f"the tenants of {claim.family_id} may have {claim.most} slots")
                self._taken.setdefault(slot.slot_id, "")
                claim.hosts -= 1

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

    def _strength(self, slot: SlotView) -> float:
        """Return how strong the claims are of those that have the slot."""
        claims = [self._claim_of.get(server.family_id) for server in slot.servers]
        return max((claim.index for claim in claims if claim is not None), default=0.0)

    def _fits(self, slot: SlotView, family: FamilyView) -> bool:
        return can_host(slot, family) and family.held_until.get(slot.kind, 0.0) <= self._view.now

    def _cost(self, claim: Claim, slot: SlotView) -> float:
        return claim.jobs[0].work_s.get(slot.kind, float("inf")) * self._prices.get(slot.kind, 1.0)

    def _start(self, claim: Claim, slot: SlotView, memory_bytes: int, where: str) -> None:
        jobs = f"{len(claim.jobs)} jobs" if len(claim.jobs) > 1 else "1 job"
        self._starts[slot.slot_id, claim.family_id] = StartServer(
            slot_id=slot.slot_id,
            family_id=claim.family_id,
            memory_bytes=memory_bytes,
            reason=f"{jobs} with {claim.work_s:.0f} slot-seconds of work; {where}",
        )
        claim.hosts = max(claim.hosts, 1)

    def _drain(self, slot: SlotView, server: HostedServer, reason: str) -> None:
        self._drains.append(DrainServer(server_id=server.server_id, slot_id=slot.slot_id, reason=reason))


def _drains(server: HostedServer) -> bool:
    return server.state is HostedState.DRAINING
