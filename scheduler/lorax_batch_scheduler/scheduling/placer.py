"""Decides which servers run where: asks the planner when something has changed, and does what it says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError, SecretUnreadableError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.packing import DrainServer, ExplainJob, ServeJobs, StartServer
from lorax_batch_scheduler.scheduling.cluster_sight import ClusterSight, Sight
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.forecaster import Forecaster
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.scheduling.row_room import plan_with_room, rooms_of
from lorax_batch_scheduler.scheduling.turn_taking import TurnTaking

GATHER_S: Final = 1.0
"""Events are gathered for so long before a plan."""
PLAN_EVERY_S: Final = 30.0
SWITCHING_SHARE: Final = 0.03
"""Of all slot time, what switching busy slots may spend."""
TOLD_WINDOW: Final = 0.1
"""How servers are filled is told in the log when it has changed by so much."""
FIRST_BUDGET_S: Final = 600.0
"""What it may spend before: as in replays, where the policy's knobs come from."""

_log = structlog.get_logger()


MakeLaunch = Callable[[KnownJob, Slot], Awaitable[Launch]]


class Placer:
    """Starts and drains servers for the jobs of a book, and puts the jobs of each family in order."""

    def __init__(
        self,
        *,
        fleet: Callable[[], Fleet],
        book: JobBook,
        sight: ClusterSight,
        turns: TurnTaking,
        forecaster: Forecaster,
        make_launch: MakeLaunch,
        clock: Clock,
        on_placed: Callable[[], None],
        on_planned: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._fleet = fleet
        self._book = book
        self._sight = sight
        self._turns = turns
        self._forecaster = forecaster
        self._make_launch = make_launch
        self._clock = clock
        self._on_placed = on_placed
        self._on_planned = on_planned
        self._wake = asyncio.Event()
        self._began = clock.monotonic()
        self._spent_s = 0.0
        self._windows: dict[str, float] = {}
        """By family, as last told in the log."""

    def wake(self) -> None:
        """Something has changed: plan soon."""
        self._wake.set()

    async def run(self) -> None:
        """Place until cancelled."""
        while True:
            try:
                async with self._clock.timeout(PLAN_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await self._clock.sleep(GATHER_S)
            self._wake.clear()
            try:
                await self.place()
            except DatabaseError as error:
                _log.warning("placing_waits_for_database", error=str(error))

    async def place(self) -> None:
        """Plan once, do our part of it, and tell when jobs will end. Raises `DatabaseError`."""
        async with self._turns.turn() as turn:
            sight = await self._place()
        if turn.foretells:
            await self._forecaster.tell(sight)

    async def _place(self) -> Sight:
        fleet = self._fleet()
        earned_s = SWITCHING_SHARE * (self._clock.monotonic() - self._began) * len(fleet.slots())
        budget = FIRST_BUDGET_S + earned_s - self._spent_s
        sight = await self._sight.look(switching_budget_s=max(budget, 0.0))
        await self._do(fleet, sight)
        self._on_placed()
        return sight

    async def _do(self, fleet: Fleet, sight: Sight) -> None:
        jobs = self._book.runnable
        rank = 0
        for known in jobs:
            known.wait_reason, known.unfit = "", False
        ours = {slot.slot_id for slot in fleet.slots()}
        started: set[str] = set()
        windows: dict[str, float] = {}
        # Where nothing can be started, what the fixed servers host says more.
        startable = any(not slot.fixed for slot in sight.view.slots)
        began = self._clock.monotonic()
        actions = plan_with_room(sight.view, rooms_of(jobs, fleet, sight.elsewhere))
        self._on_planned(self._clock.monotonic() - began)
        for action in actions:
            match action:
                case ServeJobs():
                    # Jobs of longer rows are planned for as a family of their own, on the same servers.
                    windows[action.family_id] = max(action.window, windows.get(action.family_id, 0.0))
                    rank = self._put_in_order(action, rank)
                case ExplainJob() if startable:
                    self._explain(action, sight)
                case StartServer() if action.slot_id in ours and action.slot_id not in started:
                    # One server a slot: several small ones have slots of their own, each with a share of the GPU.
                    started.add(action.slot_id)
                    await self._start(fleet, action, sight.readable(action.reason), jobs)
                case DrainServer() if action.slot_id in ours:
                    reason = sight.readable(action.reason)
                    _log.info("server_not_wanted", server=action.server_id, reason=reason)
                    self._count_switch(fleet, action, sight)
                    await fleet.drain(action.server_id, reason)
        self._fill(fleet, windows, sight)

    def _fill(self, fleet: Fleet, windows: Mapping[str, float], sight: Sight) -> None:
        models = {name: seen.base_model_id for name, seen in sight.families.items()}
        fleet.fill(windows, models)
        row_times = {family.family_id: family.full_row_s for family in sight.view.families}
        for family, window in windows.items():
            if abs(window - self._windows.get(family, 1.0)) >= TOLD_WINDOW:
                _log.info(
                    "servers_filled",
                    family=family,
                    model=models.get(family, ""),
                    window=round(window, 2),
                    full_row_s=round(row_times.get(family, 0.0), 2),
                )
                self._windows[family] = window
        for family in self._windows.keys() - windows.keys():
            del self._windows[family]

    def _put_in_order(self, action: ServeJobs, rank: int) -> int:
        for job_id in action.job_ids:
            known = self._book.get(job_id)
            rank += 1
            if known is not None:
                known.rank = rank
        return rank

    def _explain(self, action: ExplainJob, sight: Sight) -> None:
        known = self._book.get(action.job_id)
        if known is not None:
            known.wait_reason, known.unfit = sight.readable(action.reason), action.never

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
        except SecretUnreadableError as error:
            _log.error("secret_unreadable", job_id=first.job.job_id, error=str(error))
            first.wait_reason = str(error)
            return
        await fleet.start(action.slot_id, launch, reason)

    def _count_switch(self, fleet: Fleet, action: DrainServer, sight: Sight) -> None:
        member = next((each for each in fleet.members if each.server_id == action.server_id), None)
        if member is None or member.idle_since is not None:
            return
        setups = {family.family_id: family.setup_s for family in sight.view.families}
        self._spent_s += setups.get(member.family, {}).get(member.watch.slot.gpu_kind, 0.0)
