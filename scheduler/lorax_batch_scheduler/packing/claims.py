"""What each family wants of the slots, and how much it matters.

1. Entitlement: a job's finish time on the virtual fair clock.
2. Urgency: one over the time to that; one over its laxity when a deadline comes near.
3. Claims: a family's index is the best, over its jobs by falling urgency, of sum(work x urgency) / (set-up +
   sum(work)): Smith's ratio with family set-ups; the set-up counts only when no slot hosts the family. Of a family
   that has slots, what counts of one more, and of one less, is how urgent the work is that it would do.
4. Parts: how much of the cluster each family may have while others want it.

Slots count by their speed for the family: its work and its capacity are in seconds of the average slot.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.packing.backlog import Backlog
from lorax_batch_scheduler.packing.cluster import ClusterView, FamilyView, HostedState, JobView, SlotView
from lorax_batch_scheduler.packing.entitlements import entitlements
from lorax_batch_scheduler.packing.knobs import Knobs
from lorax_batch_scheduler.packing.serving_order import serving_order
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
    backlog: Backlog
    speeds: Mapping[str, float]
    """By GPU kind: how fast a server of it is there, against the average slot."""
    hosts: int
    """Slots that host it, and slots that this plan has given it."""
    capacity: float
    """The sum of their speeds."""
    needed: float
    """Capacity that its deadlines take."""
    horizon_s: float
    """How far ahead one more slot and one less are weighed."""
    part: float = 0.0
    """Capacity that it may have while others want slots."""
    most: int = NO_CAP
    """Slots that it may have in any case: what the caps of its tenants leave."""

    @property
    def family_id(self) -> str:
        """The family's id."""
        return self.family.family_id

    @property
    def work_s(self) -> float:
        """All its work, in slot-seconds of the average slot."""
        return self.backlog.work_s

    def next_urgency(self, speed: float = 1.0) -> float:
        """Return how urgent the work is that one more slot would do; what deadlines take counts as the first jobs."""
        if self.hosts == 0 or self.capacity < self.needed:
            return self.index
        return self._urgency_beyond(self.capacity, speed)

    def gain(self, kind: str) -> float:
        """Return how urgent the work is that one more slot of a kind would do in a second."""
        speed = self.speeds.get(kind, 0.0)
        return self.next_urgency(speed) * speed

    def loss(self, kind: str) -> float:
        """Return how urgent the work is that would be done in a second less without one of its slots."""
        speed = self.speeds.get(kind, 0.0)
        if self.hosts <= 1 or self.capacity - speed < self.needed:
            return self.index * speed
        return self._urgency_beyond(max(self.capacity - speed, 0.0), speed) * speed

    def _urgency_beyond(self, capacity: float, speed: float) -> float:
        """Return how urgent the work is that a slot does within the horizon which others of that capacity don't."""
        seconds = min(self.horizon_s, self.work_s / max(capacity + speed, 1e-9))
        return self.backlog.between(capacity * seconds, (capacity + speed) * seconds)

    def add(self, kind: str, slots: int = 1) -> None:
        """Count slots of a kind that it is given; fewer than none: that are taken from it."""
        self.hosts += slots
        self.capacity += slots * self.speeds.get(kind, 0.0)


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
        self._entitled_to = entitlements(view, self._work)

    def claims(self) -> list[Claim]:
        families = {family.family_id: family for family in self._view.families}
        hosts = _hosting(self._view.slots)
        by_family: dict[str, list[JobView]] = {}
        for job in self._view.jobs:
            if families[job.family_id].setup_s:
                by_family.setdefault(job.family_id, []).append(job)
        claims = [self._claim(families[each], jobs, hosts.get(each, [])) for each, jobs in by_family.items()]
        claims.sort(key=lambda claim: (-claim.index, claim.family_id))
        self._set_parts(claims)
        return claims

    def _urgency(self, job: JobView, laxity: float | None) -> float:
        urgency = 1 / max(self._entitled_to[job.job_id] - self._view.now, self._knobs.nearest_s)
        return urgency if laxity is None else max(urgency, 1 / max(laxity, self._knobs.nearest_s / 4))

    def _claim(self, family: FamilyView, jobs: list[JobView], hosts: Sequence[str]) -> Claim:
        speeds = self._speeds(jobs)
        capacity = sum(speeds.get(kind, 0.0) for kind in hosts)
        laxities, needed = self._near_deadlines(family, jobs, capacity)
        urgencies = {job.job_id: self._urgency(job, laxities.get(job.job_id)) for job in jobs}
        jobs = serving_order(jobs, entitled=self._entitled_to, laxities=laxities, work_s=self._work, capacity=capacity)
        setup_s = 0.0 if hosts else min(family.setup_s.values())
        backlog = Backlog((self._work[job.job_id], urgencies[job.job_id]) for job in jobs)
        return Claim(
            family=family,
            jobs=jobs,
            window=self._window(family, jobs, setup_s, capacity),
            index=backlog.strength(setup_s),
            backlog=backlog,
            speeds=speeds,
            hosts=len(hosts),
            capacity=capacity,
            needed=needed,
            horizon_s=max(self._knobs.horizon * min(family.setup_s.values()), self._knobs.nearest_s),
        )

    def _speeds(self, jobs: Sequence[JobView]) -> dict[str, float]:
        """Return by GPU kind how fast a server of the family is that all these jobs are of."""
        total = sum(self._work[job.job_id] for job in jobs)
        by_kind: dict[str, float] = {}
        for job in jobs:
            for kind, work in job.work_s.items():
                by_kind[kind] = by_kind.get(kind, 0.0) + work
        return {kind: total / work for kind, work in by_kind.items() if work > 0}

    def _window(self, family: FamilyView, jobs: Sequence[JobView], setup_s: float, capacity: float) -> float:
        flows: list[float] = []
        work = 0.0
        for job in jobs:
            work += self._work[job.job_id]
            flows.append(self._view.now - job.arrival + setup_s + work / (capacity or 1.0))
        return window_part(flows, family.full_row_s, self._knobs)

    def _near_deadlines(
        self, family: FamilyView, jobs: list[JobView], capacity: float
    ) -> tuple[dict[str, float], float]:
        """Return the laxity of jobs whose deadline is near but can be met, and the capacity that takes."""
        now, margin, slots = self._view.now, self._knobs.deadline_margin, max(len(self._view.slots), 1)
        setup = min(family.setup_s.values())
        laxities: dict[str, float] = {}
        needed, work, least = 0.0, 0.0, 0.0
        dated = [(job.deadline, job.job_id) for job in jobs if job.deadline is not None]
        for deadline, job_id in sorted(dated):
            own = self._work[job_id] * margin
            left = deadline - now - family.full_row_s  # when its last row must be sent
            start = 0.0 if capacity else setup
            if left <= start or (least + self._work[job_id]) / slots > left - start:
                continue  # it comes too late whatever is done: it takes nothing from those that can be in time
            work += own
            least += self._work[job_id]
            laxity = left - start - work / (capacity or 1.0)
            if laxity < setup + self._knobs.critical_share * left:
                laxities[job_id] = laxity
                needed = max(needed, work / max(left - setup, setup / 4, 1.0))
        return laxities, needed

    def _set_parts(self, claims: list[Claim]) -> None:
        """Give each family what its work, its entitlements or its deadlines take, whichever is most."""
        slots = len(self._view.slots)
        total = sum(claim.work_s for claim in claims)
        entitled = [self._entitled(claim) for claim in claims]
        scale = min(slots / sum(entitled), 1.0) if any(entitled) else 0.0
        for claim, own in zip(claims, entitled, strict=True):
            share = slots * claim.work_s / total if total else 0.0
            claim.part = max(share, own * scale, claim.needed)

    def _entitled(self, claim: Claim) -> float:
        """Return the capacity that ends each job when it would on the fair clock, or in some set-ups if that is later.

        By work alone, all families would end together, and the small ones late.
        """
        most = work = 0.0
        for job in claim.jobs:
            work += self._work[job.job_id]
            most = max(most, work / max(self._entitled_to[job.job_id] - self._view.now, claim.horizon_s))
        return most


def _hosting(slots: Iterable[SlotView]) -> dict[str, list[str]]:
    """Return by family the kinds of the slots that host it, servers that end not counted."""
    hosting: dict[str, list[str]] = {}
    for slot in slots:
        for family_id in {s.family_id for s in slot.servers if s.state is not HostedState.DRAINING}:
            hosting.setdefault(family_id, []).append(slot.kind)
    return hosting
