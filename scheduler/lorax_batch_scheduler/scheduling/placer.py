"""Decides which servers run where: asks the planner when something has changed, and does what it says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.packing import (
    ClusterView,
    DrainServer,
    ExplainJob,
    FamilyView,
    HostedServer,
    HostedState,
    JobView,
    ServeJobs,
    SlotView,
    StartServer,
    plan,
)
from lorax_batch_scheduler.packing.claims import reference_work
from lorax_batch_scheduler.ports.server_host import LaunchState
from lorax_batch_scheduler.scheduling.fair_queue import FairQueue
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.fleet_member import FleetMember
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob

GATHER_S: Final = 1.0
"""Events are gathered for so long before a plan."""
PLAN_EVERY_S: Final = 30.0
SWITCHING_SHARE: Final = 0.03
"""Of all slot time, what switching busy slots may spend."""
NO_TENANT: Final = ""
ANY_MEMORY: Final = 1 << 60
"""Of a slot that does not tell: everything fits."""

_log = structlog.get_logger()


class WorkEstimates(Protocol):
    """How long things take."""

    def work_s(self, known: KnownJob, gpu_kind: str) -> float:
        """Return the slot-seconds that what is left of a job takes on such a GPU."""
        ...

    def setup_s(self, family: str, base_model_id: str, gpu_kind: str) -> float:
        """Return the seconds from the start of a server to its first row."""
        ...

    def need_bytes(self, base_model_id: str, quantization: str) -> int:
        """Return the least GPU memory for a server; 0: unknown, any slot will do."""
        ...


MakeLaunch = Callable[[KnownJob, Slot], Awaitable[Launch]]


class Placer:
    """Starts and drains servers for the jobs of a book, and puts the jobs of each family in order."""

    def __init__(
        self,
        *,
        fleet: Callable[[], Fleet],
        book: JobBook,
        estimates: WorkEstimates,
        make_launch: MakeLaunch,
        clock: Clock,
        on_placed: Callable[[], None],
    ) -> None:
        self._fleet = fleet
        self._book = book
        self._estimates = estimates
        self._make_launch = make_launch
        self._clock = clock
        self._on_placed = on_placed
        self._wake = asyncio.Event()
        self._queue = FairQueue()
        self._began = clock.monotonic()
        self._spent_s = 0.0

    def wake(self) -> None:
        """Something has changed: plan soon."""
        self._wake.set()

    async def run(self) -> None:
        """Place until cancelled."""
        while True:
            try:
                async with asyncio.timeout(PLAN_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await self._clock.sleep(GATHER_S)
            self._wake.clear()
            await self.place()

    async def place(self) -> None:
        """Plan once, and do it."""
        fleet = self._fleet()
        jobs = self._book.runnable
        view = self._view(fleet, jobs)
        rank = 0
        names = {known.family: known.job.base_model_id for known in jobs}
        for known in jobs:
            known.wait_reason = ""
        started: set[str] = set()
        # Where nothing can be started, what the fixed servers host says more.
        startable = any(not slot.is_fixed for slot in fleet.slots())
        for action in plan(view):
            match action:
                case ServeJobs():
                    rank = self._put_in_order(action, rank)
                case ExplainJob() if startable:
                    self._explain(action, names)
                case StartServer() if action.slot_id not in started:
                    # One server a slot: several small ones have slots of their own, each with a share of the GPU.
                    started.add(action.slot_id)
                    await self._start(fleet, action, _readable(action.reason, names), jobs)
                case DrainServer():
                    reason = _readable(action.reason, names)
                    _log.info("server_not_wanted", server=action.server_id, reason=reason)
                    self._count_switch(fleet, action)
                    await fleet.drain(action.server_id, reason)
        self._on_placed()

    def _put_in_order(self, action: ServeJobs, rank: int) -> int:
        for job_id in action.job_ids:
            known = self._book.get(job_id)
            rank += 1
            if known is not None:
                known.rank = rank
        return rank

    def _explain(self, action: ExplainJob, names: Mapping[str, str]) -> None:
        known = self._book.get(action.job_id)
        if known is not None:
            known.wait_reason = _readable(action.reason, names)

    async def _start(self, fleet: Fleet, action: StartServer, reason: str, jobs: Sequence[KnownJob]) -> None:
        slot = next(slot for slot in fleet.slots() if slot.slot_id == action.slot_id)
        family = [known for known in jobs if known.family == action.family_id]
        first = min(family, key=lambda known: (known.rank, known.job.job_id), default=None)
        if first is None:
            return
        try:
            launch = await self._make_launch(first, slot)
        except DatabaseError as error:
            _log.warning("server_not_started", slot=slot.slot_id, error=str(error))
            return
        await fleet.start(action.slot_id, launch, reason)

    def _count_switch(self, fleet: Fleet, action: DrainServer) -> None:
        member = next((each for each in fleet.members if each.server_id == action.server_id), None)
        if member is not None and member.idle_since is None:
            job = member.watch.status().base_model_id or ""
            self._spent_s += self._estimates.setup_s(member.family, job, member.watch.slot.gpu_kind)

    # --- what the planner sees ---

    def _view(self, fleet: Fleet, jobs: Sequence[KnownJob]) -> ClusterView:
        now = self._clock.monotonic()
        slots = fleet.slots()
        kinds: dict[str, int] = {}
        for slot in slots:
            kinds[slot.gpu_kind] = kinds.get(slot.gpu_kind, 0) + 1
        families: dict[str, KnownJob] = {}
        for known in jobs:
            families.setdefault(known.family, known)
        work = {known.job.job_id: {k: self._estimates.work_s(known, k) for k in kinds} for known in jobs}
        sizes = {job_id: reference_work(by_kind, kinds) for job_id, by_kind in work.items()}
        self._queue.advance(jobs, sizes, now=now, capacity=float(max(len(slots), 1)))
        budget = SWITCHING_SHARE * (now - self._began) * len(slots) - self._spent_s
        return ClusterView(
            now=now,
            slots=tuple(self._slot_view(fleet, slot, families) for slot in slots),
            families=tuple(self._family_view(fleet, name, known, kinds) for name, known in families.items()),
            jobs=tuple(self._job_view(known, work[known.job.job_id], now) for known in jobs),
            switching_budget_s=max(budget, 0.0),
        )

    def _family_view(self, fleet: Fleet, name: str, known: KnownJob, kinds: Mapping[str, int]) -> FamilyView:
        model = known.job.base_model_id
        return FamilyView(
            family_id=name,
            need_bytes=self._estimates.need_bytes(model, known.job.server_config.quantization),
            setup_s={kind: self._estimates.setup_s(name, model, kind) for kind in kinds},
            held_until=fleet.failures.held_until(name),
        )

    def _job_view(self, known: KnownJob, work_s: Mapping[str, float], now: float) -> JobView:
        job = known.job
        deadline = None
        if job.deadline is not None:
            deadline = now + (job.deadline - self._clock.now()).total_seconds()
        left_s, finish = self._queue.of(job.job_id)
        return JobView(
            job_id=job.job_id,
            family_id=known.family,
            tenant=NO_TENANT,
            priority=job.priority,
            arrival=self._queue.arrival(job.job_id, now),
            work_s=work_s,
            deadline=deadline,
            virtual_left_s=left_s,
            virtual_finish=finish,
        )

    def _slot_view(self, fleet: Fleet, slot: Slot, families: Mapping[str, KnownJob]) -> SlotView:
        members = {member.server_id: member for member in fleet.members if member.watch.slot.slot_id == slot.slot_id}
        servers: list[HostedServer] = []
        for launched in fleet.on_slot(slot.slot_id):
            member = members.get(launched.server_id)
            hosted = _families_of(member, launched.family, families)
            for name in hosted:
                model = families[name].job.base_model_id if name in families else ""
                setup_s = self._estimates.setup_s(name, model, slot.gpu_kind)
                servers.append(self._hosted(launched.server_id, launched.state, member, name, setup_s))
        return SlotView(
            slot_id=slot.slot_id,
            kind=slot.gpu_kind,
            memory_bytes=slot.memory_bytes or ANY_MEMORY,
            servers=tuple(servers),
            unusable=_unusable(slot, fleet),
            fixed=slot.is_fixed,
        )

    def _hosted(
        self, server_id: str, launched: LaunchState, member: FleetMember | None, family: str, setup_s: float
    ) -> HostedServer:
        now = self._clock.monotonic()
        if launched is LaunchState.STOPPING or (member is not None and member.leaving is not None):
            state = HostedState.DRAINING
        elif member is not None and member.ready_at is not None:
            state = HostedState.READY
        else:
            state = HostedState.STARTING
        since = member.since if member is not None else now
        ready_at = member.ready_at if member is not None and member.ready_at is not None else since + setup_s
        return HostedServer(
            server_id=server_id,
            family_id=family,
            state=state,
            since=ready_at if state is HostedState.READY else since,
            ready_at=ready_at,
            idle_since=member.idle_since if member is not None else None,
        )


def _families_of(member: FleetMember | None, family: str, families: Mapping[str, KnownJob]) -> list[str]:
    """Return what a server hosts: what it was started with, or all that a static one will do for."""
    if family:
        return [family]
    model = member.status().base_model_id if member is not None and member.ready_at is not None else None
    return [name for name, known in families.items() if known.job.base_model_id == model]


def _unusable(slot: Slot, fleet: Fleet) -> str:
    if slot.is_fixed:
        return "its server is not ours to start"
    return "drained" if slot.slot_id in fleet.drained else ""


def _readable(reason: str, names: Mapping[str, str]) -> str:
    """Return a reason with base models in place of the hashes of configurations."""
    for family, base_model in names.items():
        reason = reason.replace(family, base_model)
    return reason
