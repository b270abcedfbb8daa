"""What each family wants of the slots, and how much it matters.

1. Entitlement: a job's finish time on the virtual fair clock.
2. Urgency: one over the time to that; one over its laxity when a deadline comes near.
3. Claims: a family's index is the best, over its jobs by falling urgency, of sum(work x urgency) / (set-up +
   sum(work)): Smith's ratio with family set-ups; the set-up counts only when no slot hosts the family.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.packing.cluster import ClusterView, FamilyView, HostedState, JobView, SlotView
from lorax_batch_scheduler.packing.fair_clock import VirtualJob, ends
from lorax_batch_scheduler.packing.knobs import Knobs
from lorax_batch_scheduler.packing.window import window_part

NO_CAP: Final = 1 << 30


@dataclass(slots=True, kw_only=True)
class Claim:
    """What a family wants."""

    family: FamilyView
    jobs: list[JobView]
    """Those with a near deadline first, then the most urgent."""
    window: float
    """The part of their windows that its servers fill."""
    index: float
    work_s: float
    hosts: int
    """Slots that host it, and slots that this plan has given it."""
    needed: int
    """Slots that its deadlines take."""
    part: int = 0
    """Slots that it may have while others want them."""
    most: int = NO_CAP
    """Slots that it may have in any case: what the caps of its tenants leave."""

    @property
    def family_id(self) -> str:
        """The family's id."""
        return self.family.family_id


def count_kinds(slots: Iterable[SlotView]) -> dict[str, int]:
    """Return how many slots there are of each GPU kind."""
    kinds: dict[str, int] = {}
    for slot in slots:
        kinds[slot.kind] = kinds.get(slot.kind, 0) + 1
    return kinds


def reference_work(work_s: Mapping[str, float], kinds: Mapping[str, int]) -> float:
    """Return a job's work on the average slot: the time that all slots together need for it, times their number."""
    speed = sum(count / work_s[kind] for kind, count in kinds.items() if work_s.get(kind, 0) > 0)
    usable = sum(count for kind, count in kinds.items() if kind in work_s)
    return usable / speed if speed else 0.0


def make_claims(view: ClusterView, knobs: Knobs) -> list[Claim]:
    """Return the claims of all families with jobs that some slot kind can host, the strongest first."""
    return _Claims(view, knobs).claims()


class _Claims:
    def __init__(self, view: ClusterView, knobs: Knobs) -> None:
        self._view = view
        self._knobs = knobs
        kinds = count_kinds(view.slots)
        self._work = {job.job_id: reference_work(job.work_s, kinds) for job in view.jobs}
        self._finishes = self._virtual_finishes()

    def claims(self) -> list[Claim]:
        families = {family.family_id: family for family in self._view.families}
        hosts = _count_hosts(self._view.slots)
        by_family: dict[str, list[JobView]] = {}
        for job in self._view.jobs:
            if families[job.family_id].setup_s:
                by_family.setdefault(job.family_id, []).append(job)
        claims = [self._claim(families[each], jobs, hosts.get(each, 0)) for each, jobs in by_family.items()]
        claims.sort(key=lambda claim: (-claim.index, claim.family_id))
        self._set_parts(claims)
        return claims

    def _virtual_finishes(self) -> dict[str, float]:
        view = self._view
        known = {job.job_id: job.virtual_finish for job in view.jobs if job.virtual_finish is not None}
        running = [
            VirtualJob(
                job_id=job.job_id,
                tenant=job.tenant,
                priority=job.priority,
                arrival=job.arrival,
                left_s=self._work[job.job_id] if job.virtual_left_s is None else job.virtual_left_s,
            )
            for job in view.jobs
            if job.virtual_finish is None
        ]
        capacity = float(max(len(view.slots), 1))
        return known | {
            end.job_id: end.time for end in ends(running, now=view.now, capacity=capacity, weights=view.weights)
        }

    def _urgency(self, job: JobView, laxity: float | None) -> float:
        urgency = 1 / max(self._finishes[job.job_id] - self._view.now, self._knobs.nearest_s)
        return urgency if laxity is None else max(urgency, 1 / max(laxity, self._knobs.nearest_s / 4))

    def _claim(self, family: FamilyView, jobs: list[JobView], hosts: int) -> Claim:
        laxities, needed = self._near_deadlines(family, jobs, hosts)
        urgencies = {job.job_id: self._urgency(job, laxities.get(job.job_id)) for job in jobs}

        def rank(job: JobView) -> tuple[bool, float, float, str]:
            if job.job_id in laxities:
                return False, job.deadline or 0.0, 0.0, job.job_id
            return True, -urgencies[job.job_id], self._finishes[job.job_id], job.job_id

        jobs = sorted(jobs, key=rank)
        setup_s = 0.0 if hosts else min(family.setup_s.values())
        best = weighted = total = 0.0
        for job in jobs:
            work = self._work[job.job_id]
            weighted += work * urgencies[job.job_id]
            total += work
            best = max(best, weighted / (setup_s + total)) if total else best
        window = self._window(family, jobs, setup_s, hosts)
        return Claim(family=family, jobs=jobs, window=window, index=best, work_s=total, hosts=hosts, needed=needed)

    def _window(self, family: FamilyView, jobs: Sequence[JobView], setup_s: float, hosts: int) -> float:
        flows: list[float] = []
        work = 0.0
        for job in jobs:
            work += self._work[job.job_id]
            flows.append(self._view.now - job.arrival + setup_s + work / max(hosts, 1))
        return window_part(flows, family.full_row_s, self._knobs)

    def _near_deadlines(self, family: FamilyView, jobs: list[JobView], hosts: int) -> tuple[dict[str, float], int]:
        """Return the laxity of jobs whose deadline is near but can be met, and how many slots that takes."""
        now, margin, slots = self._view.now, self._knobs.deadline_margin, len(self._view.slots)
        setup = min(family.setup_s.values())
        laxities: dict[str, float] = {}
        needed, work, least = 0, 0.0, 0.0
        dated = [(job.deadline, job.job_id) for job in jobs if job.deadline is not None]
        for deadline, job_id in sorted(dated):
            own = self._work[job_id] * margin
            left = deadline - now - family.full_row_s  # when its last row must be sent
            start = 0.0 if hosts else setup
            if left <= start or (least + self._work[job_id]) / slots > left - start:
                continue  # it comes too late whatever is done: it takes nothing from those that can be in time
            work += own
            least += self._work[job_id]
            laxity = left - start - work / max(hosts, 1)
            if laxity < setup + self._knobs.critical_share * left:
                laxities[job_id] = laxity
                needed = max(needed, math.ceil(work / max(left - setup, setup / 4, 1.0)))
        return laxities, needed

    def _set_parts(self, claims: list[Claim]) -> None:
        """Give each family a part of the slots in proportion to its work, and what its deadlines take."""
        slots = len(self._view.slots)
        total = sum(claim.work_s for claim in claims)
        for claim in claims:
            share = math.ceil(slots * claim.work_s / total) if total else 1
            claim.part = max(share, 1, claim.needed)


def _count_hosts(slots: Iterable[SlotView]) -> dict[str, int]:
    """Return how many slots host each family, servers that end not counted."""
    hosts: dict[str, int] = {}
    for slot in slots:
        for family_id in {s.family_id for s in slot.servers if s.state is not HostedState.DRAINING}:
            hosts[family_id] = hosts.get(family_id, 0) + 1
    return hosts
