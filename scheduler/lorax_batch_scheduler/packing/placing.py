"""Which family each slot hosts, and in which order jobs are served: set-up-aware and fair, as a pure function.

1. Entitlement: a job's finish time on the virtual fair clock.
2. Urgency: one over the time to that; one over its laxity when a deadline comes near.
3. Claims: a family's index is the best, over its jobs by falling urgency, of sum(work x urgency) / (set-up +
   sum(work)):
   Smith's ratio with family set-ups; the set-up counts only when no slot hosts the family.
4. Placing: claims by falling index take idle slots, then slots whose own claim is much weaker and that have paid back
   their set-up. One more slot is worth it only while the work on each outlasts its set-up by a margin.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lorax_batch_scheduler.packing.cluster import (
    ClusterView,
    DrainServer,
    FamilyView,
    HostedServer,
    HostedState,
    JobView,
    PlaceAction,
    ServeJobs,
    SlotView,
    StartServer,
)
from lorax_batch_scheduler.packing.fair_clock import VirtualJob, ends
from lorax_batch_scheduler.packing.kind_prices import kind_prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What the policy weighs; the defaults are from replays of traces, see docs/packing.md."""

    idle_margin: float = 2.5
    """On an idle slot, the work of each server is at least so many set-ups."""
    busy_margin: float = 8.0
    """The same for taking a slot from another family."""
    strength: float = 2.5
    """A claim must be so many times stronger than that of the family whose slot it takes."""
    payback: float = 1.5
    """A server works for so many of its set-ups before its slot may be taken."""
    deadline_margin: float = 1.3
    critical_share: float = 0.4
    a: float = 1.0
    b: float = 0.0
    boost: float = 1.0
    idle_release: float = 1.0
    """A server without rows is kept for so many of its set-ups: who waits longer would have paid for a new start."""
    nearest_s: float = 20.0
    """Finish times nearer than this are as urgent as this."""


DEFAULT_KNOBS = Knobs()


@dataclass(slots=True)
class Claim:
    """What a family wants."""

    family: FamilyView
    jobs: list[JobView]
    """Most urgent first."""
    index: float
    work_s: float
    hosts: int = 0
    part: float = 0
    needed: int = 0
    """Slots that its deadlines take."""


def place(view: ClusterView, knobs: Knobs = DEFAULT_KNOBS) -> list[PlaceAction]:
    """Return what to start and to drain, and the order of jobs in each family."""
    return _Placing(view, knobs).actions()


def reference_work(work_s: Mapping[str, float], kinds: Mapping[str, int]) -> float:
    """Return a job's work on the average slot: the time that all slots together need for it, times their number."""
    speed = sum(count / work_s[kind] for kind, count in kinds.items() if work_s.get(kind, 0) > 0)
    usable = sum(count for kind, count in kinds.items() if kind in work_s)
    return usable / speed if speed else 0.0


class _Placing:
    def __init__(self, view: ClusterView, knobs: Knobs) -> None:
        self._view = view
        self._knobs = knobs
        self._kinds: dict[str, int] = {}
        for slot in view.slots:
            self._kinds[slot.kind] = self._kinds.get(slot.kind, 0) + 1
        self._families = {family.family_id: family for family in view.families}
        self._prices = kind_prices(view, self._kinds)
        self._finishes = self._virtual_finishes()
        self._claims = self._make_claims()
        self._free = [slot for slot in view.slots if not slot.servers and not slot.unusable]
        # Their servers end already: whoever comes first has them as good as idle, and takes no other meanwhile.
        self._ending = [
            slot for slot in view.slots if slot.servers and not slot.unusable and all(map(_drains, slot.servers))
        ]
        self._given: dict[str, int] = {}
        self._taken: set[str] = set()
        self._budget_s = view.switching_budget_s
        self._actions: list[PlaceAction] = []

    def actions(self) -> list[PlaceAction]:
        for claim in self._claims.values():
            self._actions.append(
                ServeJobs(family_id=claim.family.family_id, job_ids=tuple(job.job_id for job in claim.jobs))
            )
        claims = sorted(self._claims.values(), key=lambda claim: (-claim.index, claim.family.family_id))
        self._set_parts(claims)
        for claim in claims:
            self._take_idle(claim)
            self._take_busy(claim)
        for claim in claims:
            claim.part = len(self._view.slots)
            self._take_idle(claim)
        self._release_idle()
        return self._actions

    # --- entitlement, urgency, claims ---

    def _virtual_finishes(self) -> dict[str, float]:
        view = self._view
        known = {job.job_id: job.virtual_finish for job in view.jobs if job.virtual_finish is not None}
        running = [
            VirtualJob(
                job_id=job.job_id,
                tenant=job.tenant,
                priority=job.priority,
                arrival=job.arrival,
                left_s=reference_work(job.work_s, self._kinds) if job.virtual_left_s is None else job.virtual_left_s,
            )
            for job in view.jobs
            if job.virtual_finish is None
        ]
        capacity = float(max(len(view.slots), 1))
        return known | {
            end.job_id: end.time for end in ends(running, now=view.now, capacity=capacity, weights=view.weights)
        }

    def _urgency(self, job: JobView, laxities: Mapping[str, float]) -> float:
        urgency = 1 / max(self._finishes[job.job_id] - self._view.now, self._knobs.nearest_s)
        laxity = laxities.get(job.job_id)
        return urgency if laxity is None else max(urgency, 1 / max(laxity, self._knobs.nearest_s / 4))

    def _make_claims(self) -> dict[str, Claim]:
        by_family: dict[str, list[JobView]] = {}
        for job in self._view.jobs:
            if self._families[job.family_id].setup_s:
                by_family.setdefault(job.family_id, []).append(job)
        return {family_id: self._claim(self._families[family_id], jobs) for family_id, jobs in by_family.items()}

    def _claim(self, family: FamilyView, jobs: list[JobView]) -> Claim:
        hosts = sum(_hosts(slot, family.family_id) for slot in self._view.slots)
        laxities, needed = self._deadlines(family, jobs, hosts)
        urgencies = {job.job_id: self._urgency(job, laxities) for job in jobs}

        def rank(job: JobView) -> tuple[float, float, str]:
            if job.job_id in laxities:
                return -1.0, job.deadline or 0.0, job.job_id
            return -urgencies[job.job_id], self._finishes[job.job_id], job.job_id

        jobs = sorted(jobs, key=lambda job: (job.job_id not in laxities, rank(job)))
        index, total = self._index(family, [(urgencies[job.job_id], job) for job in jobs], hosted=hosts > 0)
        return Claim(family, jobs, index, total, hosts, needed=needed)

    def _deadlines(self, family: FamilyView, jobs: list[JobView], hosts: int) -> tuple[dict[str, float], int]:
        """Return the laxity of jobs whose deadline is near but can be met, and how many slots that takes."""
        now, margin, slots = self._view.now, self._knobs.deadline_margin, len(self._view.slots)
        setup = min(family.setup_s.values())
        laxities: dict[str, float] = {}
        needed, work = 0, 0.0
        for job in sorted(jobs, key=lambda job: (job.deadline or math.inf, job.job_id)):
            if job.deadline is None:
                break
            own = reference_work(job.work_s, self._kinds) * margin
            left = job.deadline - now
            start = setup if hosts == 0 else 0.0
            if left <= start or (work + own) / slots > left - start:
                continue  # it comes too late whatever is done: it takes nothing from those that can be in time
            work += own
            laxity = left - start - work / max(hosts, 1)
            if laxity < setup + self._knobs.critical_share * left:
                laxities[job.job_id] = laxity
                needed = max(needed, math.ceil(work / max(left - setup, setup / 4, 1.0)))
        return laxities, needed

    def _index(self, family: FamilyView, jobs: list[tuple[float, JobView]], *, hosted: bool) -> tuple[float, float]:
        setup = 0.0 if hosted else min(family.setup_s.values())
        best = weighted = total = 0.0
        for urgency, job in jobs:
            work = reference_work(job.work_s, self._kinds)
            weighted += work * urgency
            total += work
            best = max(best, weighted / (setup + total)) if total else best
        return best, total

    # --- slots ---

    def _set_parts(self, claims: list[Claim]) -> None:
        k = self._knobs
        strengths = [claim.work_s**k.a * claim.index**k.b for claim in claims]
        total = sum(strengths)
        for claim, strength in zip(claims, strengths, strict=True):
            claim.part = max(-(-len(self._view.slots) * strength * k.boost // total), 1, claim.needed)

    def _wants_more(self, claim: Claim, setup_s: float, margin: float) -> bool:
        n = claim.hosts + self._given.get(claim.family.family_id, 0) + 1
        if n > claim.part:
            return False
        if n <= claim.needed:
            return True
        return n == 1 or n <= claim.work_s / (margin * max(setup_s, 1e-9)) + 1

    def _take_idle(self, claim: Claim) -> None:
        family = claim.family
        while True:
            fit = [slot for slot in (*self._free, *self._ending) if self._can_host(slot, family)]
            slot = min(fit, key=lambda slot: (self._cost(claim, slot), slot.slot_id), default=None)
            if slot is None or not self._wants_more(claim, family.setup_s[slot.kind], self._knobs.idle_margin):
                return
            self._given[family.family_id] = self._given.get(family.family_id, 0) + 1
            if slot in self._free:
                self._free.remove(slot)
                self._start(claim, slot)
            else:
                self._ending.remove(slot)

    def _take_busy(self, claim: Claim) -> None:
        family, knobs = claim.family, self._knobs
        victims = [
            (self._strength(slot), slot.slot_id, slot)
            for slot in self._view.slots
            if slot.servers
            and not slot.fixed
            and not slot.unusable
            and self._can_host(slot, family)
            and slot.slot_id not in self._taken
        ]
        for strength, _, slot in sorted(victims, key=lambda victim: victim[:2]):
            idle = all(server.idle_since is not None for server in slot.servers)
            setup = family.setup_s[slot.kind]
            margin = knobs.idle_margin if idle else knobs.busy_margin
            if not self._wants_more(claim, setup, margin):
                return
            if not self._may_take(claim, slot, strength, idle=idle):
                continue
            if not idle:
                self._budget_s -= setup
            self._taken.add(slot.slot_id)
            for server in slot.servers:
                reason = f"{family.family_id} needs the slot more"
                self._actions.append(DrainServer(server_id=server.server_id, slot_id=slot.slot_id, reason=reason))
                loser = self._claims.get(server.family_id)
                if loser is not None:
                    loser.hosts -= 1
            self._given[family.family_id] = self._given.get(family.family_id, 0) + 1

    def _release_idle(self) -> None:
        """Stop servers that have had nothing to do for as long as another start would take."""
        for slot in self._view.slots:
            if slot.fixed or slot.slot_id in self._taken:
                continue
            for server in slot.servers:
                family = self._families.get(server.family_id)
                setup = family.setup_s.get(slot.kind, 0.0) if family is not None else 0.0
                idle_s = self._view.now - server.idle_since if server.idle_since is not None else 0.0
                if idle_s > self._knobs.idle_release * setup and server.state is HostedState.READY:
                    reason = f"nothing to do for {idle_s:.0f} s"
                    self._actions.append(DrainServer(server_id=server.server_id, slot_id=slot.slot_id, reason=reason))

    def _may_take(self, claim: Claim, slot: SlotView, strength: float, *, idle: bool) -> bool:
        own = claim.family.family_id
        if any(server.family_id == own or server.state is not HostedState.READY for server in slot.servers):
            return False
        if idle:
            return True
        paid = all(self._has_paid_back(slot, server) for server in slot.servers)
        enough = self._budget_s >= claim.family.setup_s[slot.kind]
        return paid and enough and claim.index > self._knobs.strength * strength

    def _has_paid_back(self, slot: SlotView, server: HostedServer) -> bool:
        family = self._families.get(server.family_id)
        setup = family.setup_s.get(slot.kind, 0.0) if family is not None else 0.0
        return self._view.now - server.since >= self._knobs.payback * setup

    def _strength(self, slot: SlotView) -> float:
        """Return how strong the claims are of those that have the slot."""
        claims = [self._claims.get(server.family_id) for server in slot.servers]
        return max((claim.index for claim in claims if claim is not None), default=0.0)

    def _can_host(self, slot: SlotView, family: FamilyView) -> bool:
        held = family.held_until.get(slot.kind, 0.0) > self._view.now
        return slot.kind in family.setup_s and slot.memory_bytes >= family.need_bytes and not held

    def _cost(self, claim: Claim, slot: SlotView) -> float:
        work = claim.jobs[0].work_s.get(slot.kind, float("inf"))
        return work * self._prices.get(slot.kind, 1.0)

    def _start(self, claim: Claim, slot: SlotView) -> None:
        family_id = claim.family.family_id
        reason = f"{len(claim.jobs)} jobs with {claim.work_s:.0f} slot-seconds of work wait; the slot is idle"
        self._actions.append(StartServer(slot_id=slot.slot_id, family_id=family_id, reason=reason))


def _hosts(slot: SlotView, family_id: str) -> bool:
    return any(server.family_id == family_id and server.state is not HostedState.DRAINING for server in slot.servers)


def _drains(server: HostedServer) -> bool:
    return server.state is HostedState.DRAINING
