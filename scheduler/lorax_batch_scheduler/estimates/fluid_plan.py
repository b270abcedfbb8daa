"""When each job will end if no other comes: the plan played in fluid time.

Rows are a fluid: the servers of a family pour the work of its jobs away one job after another, in the order in which
the fair clock lets them end. A family that is done leaves its slots to others, which first pay their set-up. What the
planner weighs from moment to moment is left out; how far that is from the truth, calibration measures.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lorax_batch_scheduler.estimates.fluid_family import FluidFamily
from lorax_batch_scheduler.packing.claims import reference_work
from lorax_batch_scheduler.packing.cluster import ClusterView, FamilyView, HostedState, JobView, SlotView
from lorax_batch_scheduler.packing.entitlements import entitlements
from lorax_batch_scheduler.packing.knobs import DEFAULT_KNOBS

DRAIN_S: Final = 15.0
"""What ends on a slot is taken to be gone after so long."""
NEVER: Final = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What forecasts take into account beyond what planning does."""

    tails_s: Mapping[str, float] = field(default_factory=dict)
    """By job: how long its last row takes on its own."""
    log_sigmas: Mapping[str, float] = field(default_factory=dict)
    """By job: of the logarithm of the work left."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """By server, against others of its family and kind; those that are missing have 1."""


NO_OUTLOOK: Final = Outlook()


def finish_times(
    view: ClusterView, outlook: Outlook = NO_OUTLOOK, *, deadlines_first: bool = False
) -> dict[str, float]:
    """Return when each job should end; `NEVER` for those that no slot can host.

    `deadlines_first`: jobs with deadlines go before all others, the nearest first, as they do when it gets tight.
    """
    return _FluidPlan(view, outlook, deadlines_first=deadlines_first).play()


def can_host(slot: SlotView, family: FamilyView) -> bool:
    """Tell whether a server of the family could ever run on the slot."""
    if slot.fixed:
        return any(server.family_id == family.family_id for server in slot.servers)
    return slot.kind in family.setup_s and slot.memory_bytes >= family.need_bytes


class _FluidPlan:
    def __init__(self, view: ClusterView, outlook: Outlook, *, deadlines_first: bool) -> None:
        self._view = view
        self._outlook = outlook
        self._kinds: dict[str, int] = {}
        for slot in view.slots:
            self._kinds[slot.kind] = self._kinds.get(slot.kind, 0) + 1
        self._views = {family.family_id: family for family in view.families}
        work_s = {job.job_id: reference_work(job.work_s, self._kinds) for job in view.jobs}
        self._entitled = entitlements(view, work_s)
        self._families = self._make_families(deadlines_first=deadlines_first)
        self._slots = {slot.slot_id: slot for slot in view.slots}
        self._free: dict[str, tuple[SlotView, float]] = {}
        """Slots without a server, and from when on."""
        self._waiting: list[FluidFamily] = []
        """Those without a server, the most urgent first."""
        self._finish = {job.job_id: NEVER for job in view.jobs}

    def play(self) -> dict[str, float]:
        self._settle()
        self._waiting = sorted((each for each in self._families.values() if not each.servers), key=_by_urgency)
        self._share_out(self._view.now)
        self._displace(self._view.now)
        running = {family.family_id: family.done_at() for family in self._families.values() if family.servers}
        while running:
            family_id = min(running, key=lambda each: (running[each], each))
            now = running.pop(family_id)
            family = self._families.pop(family_id)
            if now == NEVER:
                continue
            self._take_finished(family, now)
            for slot_id in family.servers:
                slot = self._slots[slot_id]
                if not slot.fixed and not self._is_shared(slot_id):
                    self._free[slot_id] = slot, now
            for changed in self._share_out(now):
                running[changed.family_id] = changed.done_at()
        return self._finish

    def _is_shared(self, slot_id: str) -> bool:
        return len(self._slots[slot_id].servers) > 1 and any(
            slot_id in each.servers for each in self._families.values()
        )

    def _make_families(self, *, deadlines_first: bool) -> dict[str, FluidFamily]:
        by_family: dict[str, list[JobView]] = {}
        for job in self._view.jobs:
            by_family.setdefault(job.family_id, []).append(job)

        def rank(job: JobView) -> tuple[float, float, str]:
            if deadlines_first and job.deadline is not None:
                return 0.0, job.deadline, job.job_id
            return 1.0, self._entitled[job.job_id], job.job_id

        return {
            family_id: FluidFamily(
                family_id,
                [(job.job_id, job.work_s) for job in sorted(jobs, key=rank)],
                urgency=min(rank(job) for job in jobs),
                now=self._view.now,
            )
            for family_id, jobs in by_family.items()
            if family_id in self._views
        }

    def _settle(self) -> None:
        """Put what is there already to where it is."""
        now = self._view.now
        for slot in self._view.slots:
            staying = [server for server in slot.servers if server.state is not HostedState.DRAINING]
            useful = [server for server in staying if server.family_id in self._families]
            for server in useful:
                rate = self._outlook.speeds.get(server.server_id, 1.0) / len(useful)
                ready = now if server.state is HostedState.READY else max(server.ready_at, now)
                self._families[server.family_id].join(slot.slot_id, slot.kind, ready_at=ready, speed=rate)
            if not useful and not slot.fixed and not slot.unusable:
                self._free[slot.slot_id] = slot, now + (DRAIN_S if slot.servers and not staying else 0.0)

    def _share_out(self, now: float) -> list[FluidFamily]:
        """Give free slots away: first to families without any, then where work on each server is largest."""
        changed: dict[str, FluidFamily] = {}
        for family in self._waiting:
            if not self._free:
                break
            if self._take_free(family, now):
                changed[family.family_id] = family
        for family in changed.values():
            self._waiting.remove(family)  # found at once: the most urgent are served first
        if not self._free:
            return list(changed.values())
        margin = DEFAULT_KNOBS.idle_margin
        open_families = [each for each in self._families.values() if each.servers]
        while self._free and open_families:
            family = max(open_families, key=lambda each: (each.load_with(len(each.servers) + 1, now), each.family_id))
            setup = min(self._views[family.family_id].setup_s.values(), default=0.0)
            enough = family.load_with(len(family.servers), now) > margin * setup
            if enough and self._take_free(family, now):
                changed[family.family_id] = family
            else:
                open_families.remove(family)
        return list(changed.values())

    def _take_free(self, family: FluidFamily, now: float) -> bool:
        view = self._views[family.family_id]
        fitting = [(slot, free_at) for slot, free_at in self._free.values() if can_host(slot, view)]
        if not fitting:
            return False
        slot, free_at = min(fitting, key=lambda each: (family.cost_on(each[0].kind), each[1], each[0].slot_id))
        del self._free[slot.slot_id]
        start = max(now, free_at, view.held_until.get(slot.kind, 0.0))
        self._take_finished(family, now)
        family.join(slot.slot_id, slot.kind, ready_at=start + view.setup_s[slot.kind], speed=1.0)
        return True

    def _displace(self, now: float) -> None:
        """Families without a slot take one from who has more than its part."""
        total = sum(each.left_s for each in self._families.values())
        for family in self._waiting:
            view = self._views[family.family_id]
            rich = [
                (each.excess(len(self._slots), total), each.family_id, slot_id)
                for each in self._families.values()
                if len(each.servers) > 1
                for slot_id in each.servers
                if not self._slots[slot_id].fixed and can_host(self._slots[slot_id], view)
            ]
            if not rich or max(rich)[0] <= 0:
                continue
            _, victim, slot_id = max(rich)
            self._families[victim].leave(slot_id)
            slot = self._slots[slot_id]
            family.join(slot_id, slot.kind, ready_at=now + DRAIN_S + view.setup_s[slot.kind], speed=1.0)
        self._waiting = [each for each in self._waiting if not each.servers]

    def _take_finished(self, family: FluidFamily, now: float) -> None:
        for job_id, began, ended in family.advance(now):
            tail = self._outlook.tails_s.get(job_id, 0.0)
            # Its last row is sent when its work is nearly poured away; a short job takes as long as a row does.
            self._finish[job_id] = max(began + tail, ended + tail / 2)


def _by_urgency(family: FluidFamily) -> tuple[float, float, str]:
    return family.urgency
