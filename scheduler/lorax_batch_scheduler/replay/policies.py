"""The policies that a trace can be replayed under: the planner of the service, and three simple ones beside it."""

from collections.abc import Callable, Iterable
from typing import Final

from lorax_batch_scheduler.packing import DEFAULT_KNOBS, Knobs, plan
from lorax_batch_scheduler.packing.cluster import (
    ClusterView,
    DrainServer,
    FamilyView,
    JobView,
    PlaceAction,
    ServeJobs,
    SlotView,
    StartServer,
)
from lorax_batch_scheduler.replay.policy import Policy


class SetupAwareFair:
    """The planner of the service."""

    name = "setup_aware_fair"
    grouped = True
    shares = True

    def __init__(self, knobs: Knobs = DEFAULT_KNOBS) -> None:
        self._knobs = knobs

    def plan(self, view: ClusterView) -> list[PlaceAction]:
        """See `packing.plan`."""
        return plan(view, self._knobs)

    def may_serve(self, server_id: str, slot_id: str, job_id: str) -> bool:
        """All servers of a family share its jobs."""
        return True


class OneJobAServer:
    """Each job has a server for itself, on the first slot that is free: in order of arrival, or largest first."""

    grouped = False
    shares = False

    def __init__(self, name: str, order: Callable[[JobView], tuple[float, float, str]]) -> None:
        self.name = name
        self._order = order
        self._slot_of: dict[str, str] = {}

    def plan(self, view: ClusterView) -> list[PlaceAction]:
        """Give every free slot the next job; a slot whose server is of another family starts anew."""
        here = {job.job_id for job in view.jobs}
        self._slot_of = {job_id: slot for job_id, slot in self._slot_of.items() if job_id in here}
        families = {family.family_id: family for family in view.families}
        taken = set(self._slot_of.values())
        actions: list[PlaceAction] = []
        free = [slot for slot in view.slots if slot.slot_id not in taken and not slot.unusable]
        for job in sorted(view.jobs, key=self._order):
            if job.job_id in self._slot_of:
                continue
            slot = _first_fit(free, families[job.family_id])
            if slot is not None:
                free.remove(slot)
                self._slot_of[job.job_id] = slot.slot_id
        by_slot = {slot: job_id for job_id, slot in self._slot_of.items()}
        jobs = {job.job_id: job for job in view.jobs}
        for slot in view.slots:
            served = jobs.get(by_slot.get(slot.slot_id, ""))
            if served is not None and not slot.unusable:
                actions += _host(slot, served.family_id)
        actions += _orders(view.jobs, self._order)
        return actions

    def may_serve(self, server_id: str, slot_id: str, job_id: str) -> bool:
        """Only the job that has the slot."""
        return self._slot_of.get(job_id) == slot_id


class FifoShare:
    """One server a family, in order of arrival; its jobs share it. A slot changes its family when that has no job."""

    name = "fifo_share"
    grouped = False
    shares = True

    def plan(self, view: ClusterView) -> list[PlaceAction]:
        """Start a server for each family that has none, while there are slots."""
        families = {family.family_id: family for family in view.families}
        wanted = dict.fromkeys(job.family_id for job in sorted(view.jobs, key=_by_arrival))
        hosted = {server.family_id for slot in view.slots for server in slot.servers}
        free = [
            slot
            for slot in view.slots
            if not slot.unusable
            and all(server.family_id not in wanted and server.idle_since is not None for server in slot.servers)
        ]
        actions: list[PlaceAction] = []
        for family_id in wanted:
            if family_id in hosted:
                continue
            slot = _first_fit(free, families[family_id])
            if slot is not None:
                free.remove(slot)
                actions += _host(slot, family_id)
        return actions + _orders(view.jobs, _by_arrival)

    def may_serve(self, server_id: str, slot_id: str, job_id: str) -> bool:
        """All jobs of the family."""
        return True


def _by_arrival(job: JobView) -> tuple[float, float, str]:
    return job.arrival, 0.0, job.job_id


def _largest_first(job: JobView) -> tuple[float, float, str]:
    return -max(job.work_s.values(), default=0.0), job.arrival, job.job_id


def _first_fit(slots: Iterable[SlotView], family: FamilyView) -> SlotView | None:
    hosting = [slot for slot in slots if any(server.family_id == family.family_id for server in slot.servers)]
    fits = (slot for slot in slots if slot.kind in family.setup_s and slot.memory_bytes >= family.need_bytes)
    return next(iter(hosting), None) or next(fits, None)


def _host(slot: SlotView, family_id: str) -> list[PlaceAction]:
    """Return what makes a slot host a family: nothing when it does, a drain first when it hosts another."""
    if any(server.family_id == family_id for server in slot.servers):
        return []
    if slot.servers:
        return [
            DrainServer(server_id=server.server_id, slot_id=slot.slot_id, reason="its job has ended")
            for server in slot.servers
            if server.state.name == "READY"
        ]
    return [
        StartServer(slot_id=slot.slot_id, family_id=family_id, memory_bytes=slot.memory_bytes, reason="the next job")
    ]


def _orders(jobs: Iterable[JobView], order: Callable[[JobView], tuple[float, float, str]]) -> list[PlaceAction]:
    by_family: dict[str, list[str]] = {}
    for job in sorted(jobs, key=order):
        by_family.setdefault(job.family_id, []).append(job.job_id)
    return [ServeJobs(family_id=family, job_ids=tuple(ids)) for family, ids in by_family.items()]


POLICIES: Final[dict[str, Callable[[], Policy]]] = {
    "setup_aware_fair": SetupAwareFair,
    "fifo_exclusive": lambda: OneJobAServer("fifo_exclusive", _by_arrival),
    "fifo_share": FifoShare,
    "ffd": lambda: OneJobAServer("ffd", _largest_first),
}
