"""What the planner sees: slots and servers here and at other schedulers, jobs with their work, families."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.estimates import Estimates, Gpu, JobLeft, Outlook, Work
from lorax_batch_scheduler.fleet import ServerStatus, Slot
from lorax_batch_scheduler.launching.memory_need import need_bytes
from lorax_batch_scheduler.packing import ClusterView, FamilyView, JobView, SlotView
from lorax_batch_scheduler.packing.claims import reference_work
from lorax_batch_scheduler.packing.fair_clock import VirtualJob
from lorax_batch_scheduler.packing.fair_queue import FairQueue
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.fleet_record import OtherFleets
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.scheduling.learner import Learner, gpu_of
from lorax_batch_scheduler.scheduling.row_times import full_row_s, speed_at
from lorax_batch_scheduler.scheduling.slot_sight import (
    ANY_MEMORY,
    FamilySeen,
    families_on,
    families_told,
    slot_here,
    slots_elsewhere,
)
from lorax_batch_scheduler.scheduling.work_left import WorkLeft


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Everything at one moment, for planning and for foretelling."""

    time: datetime
    """The same moment as `view.now`."""
    view: ClusterView
    outlook: Outlook
    fractions: Mapping[str, float]
    """By job: the share of its rows that has ended."""
    families: Mapping[str, FamilySeen]
    gpus: Mapping[str, Gpu]
    """By kind, the smallest of it."""
    elsewhere: Sequence[ServerStatus] = ()
    """Servers of other schedulers."""

    def readable(self, reason: str) -> str:
        """Return a reason with base models in place of the hashes of configurations."""
        for family, seen in self.families.items():
            reason = reason.replace(family, seen.base_model_id)
        return reason


class ClusterSight:
    """Looks at fleet, jobs and estimates; keeps the fair clock."""

    def __init__(
        self,
        *,
        fleet: Callable[[], Fleet],
        others: Callable[[], OtherFleets],
        book: JobBook,
        estimates: Estimates,
        learner: Learner,
        left: WorkLeft,
        model_of: Callable[[str], BaseModel],
        clock: Clock,
    ) -> None:
        """`others`: what other schedulers have; all plan for all slots, and each does its own part of it."""
        self._fleet = fleet
        self._others = others
        self._book = book
        self._estimates = estimates
        self._learner = learner
        self._left = left
        self._model_of = model_of
        self._clock = clock
        self._queue = FairQueue()

    async def look(self, *, switching_budget_s: float) -> Sight:
        """Return what there is now. Raises `DatabaseError`."""
        await self._left.read(self._book.runnable)
        return self.look_again(switching_budget_s=switching_budget_s)

    def look_again(self, *, switching_budget_s: float = 0.0) -> Sight:
        """Return what there is now, as far as it is known without asking the database."""
        now, fleet, jobs = self._clock.monotonic(), self._fleet(), self._book.runnable
        others = self._others()
        families = dict(self._families(fleet, others.servers, jobs))
        for name, seen in families.items():
            self._learner.meet_family(name, seen.base_model_id, seen.quantization)
        slots = [*fleet.slots(), *(status.slot for status in others.slots)]
        gpus, kinds = _smallest(slots), Counter(slot.gpu_kind for slot in slots)
        work = {known.job.job_id: self._estimates.work(self._left.of(known), gpus.values()) for known in jobs}
        sizes = {job_id: reference_work(_slot_s(by_kind), kinds) for job_id, by_kind in work.items()}
        virtual = [_virtual(known, sizes[known.job.job_id], now) for known in jobs]
        weights = {known.job.tenant: known.job.share_weight for known in jobs}
        self._queue.advance(virtual, now=now, capacity=float(max(len(slots), 1)), weights=weights)
        with_rows = {known.family for known in jobs if known.left}
        by_family: dict[str, list[Mapping[str, Work]]] = {}
        for known in jobs:
            by_family.setdefault(known.family, []).append(work[known.job.job_id])
        servers = self._servers_of(fleet, others.servers, families)
        full_rows = {name: full_row_s(each, servers.get(name, ())) for name, each in by_family.items()}
        view = ClusterView(
            now=now,
            slots=(
                *(self._slot(slot, families, with_rows) for slot in fleet.slots()),
                *slots_elsewhere(others, families=families, now=now),
            ),
            families=tuple(
                replace(self._family_view(fleet, name, seen, gpus), full_row_s=full_rows.get(name, 0.0))
                for name, seen in families.items()
            ),
            jobs=tuple(self._job_view(known, work[known.job.job_id], now) for known in jobs),
            weights=weights,
            switching_budget_s=switching_budget_s,
        )
        return Sight(
            time=self._clock.now(),
            view=view,
            outlook=self._outlook(jobs, work, self._speeds(fleet, families, by_family)),
            fractions={known.job.job_id: _fraction(known) for known in jobs},
            families=families,
            gpus=gpus,
            elsewhere=others.servers,
        )

    def with_job(self, sight: Sight, job: JobView, left: JobLeft, seen: FamilySeen) -> tuple[Sight, JobView]:
        """Return what would be seen if a job came now, and how it would be seen; its `work_s` is filled in here."""
        families = {**sight.families, job.family_id: seen}
        self._learner.meet_family(job.family_id, seen.base_model_id, seen.quantization)
        work = self._estimates.work(left, sight.gpus.values())
        known = {family.family_id for family in sight.view.families}
        view, fleet = sight.view, self._fleet()
        if job.family_id not in known:
            added = self._family_view(fleet, job.family_id, seen, sight.gpus)
            # A static server hosts whatever is of its base model, also what nobody has wanted so far.
            slots = {slot.slot_id: slot for slot in fleet.slots() if slot.is_fixed}
            view = replace(
                view,
                families=(*view.families, added),
                slots=tuple(
                    self._slot(slots[each.slot_id], families) if each.slot_id in slots else each for each in view.slots
                ),
            )
        outlook = replace(
            sight.outlook,
            tails_s={**sight.outlook.tails_s, job.job_id: _least_tail(work)},
            log_sigmas={**sight.outlook.log_sigmas, job.job_id: _largest_sigma(work)},
        )
        return replace(sight, view=view, outlook=outlook, families=families), replace(job, work_s=_slot_s(work))

    # --- families ---

    def _families(
        self, fleet: Fleet, elsewhere: Iterable[ServerStatus], jobs: Iterable[KnownJob]
    ) -> Iterator[tuple[str, FamilySeen]]:
        """Return those that servers have, then those that jobs want: a server without a job is one to keep or stop."""
        for member in fleet.members:
            status = member.status()
            if member.family and status.base_model_id:
                yield member.family, FamilySeen.of(status)
        for status in elsewhere:
            if status.config is not None and status.base_model_id:
                yield status.config.family(status.base_model_id), FamilySeen.of(status)
        for known in jobs:
            job = known.job
            yield known.family, FamilySeen(base_model_id=job.base_model_id, quantization=job.server_config.quantization)

    def _family_view(self, fleet: Fleet, name: str, seen: FamilySeen, gpus: Mapping[str, Gpu]) -> FamilyView:
        return FamilyView(
            family_id=name,
            need_bytes=need_bytes(self._model_of(seen.base_model_id), seen.quantization) or 0,
            setup_s=self._estimates.setup_s(name, gpus.values()),
            held_until=fleet.failures.held_until(name),
            held_because=fleet.failures.held_because(name),
        )

    def _servers_of(
        self, fleet: Fleet, elsewhere: Iterable[ServerStatus], families: Mapping[str, FamilySeen]
    ) -> dict[str, list[ServerStatus]]:
        """Return the servers of each family, here and at other schedulers."""
        found: dict[str, list[ServerStatus]] = {}
        for member in fleet.members:
            for family in families_on(member, member.family, families):
                found.setdefault(family, []).append(member.status())
        for status in elsewhere:
            for family in families_told(status, families):
                found.setdefault(family, []).append(status)
        return found

    def _speeds(
        self, fleet: Fleet, families: Mapping[str, FamilySeen], work: Mapping[str, Sequence[Mapping[str, Work]]]
    ) -> dict[str, float]:
        """Return how fast servers are against a full one that is usual for their family and kind."""
        speeds = self._estimates.speeds(
            {each.server_id: (each.family, each.watch.slot.gpu_kind) for each in fleet.members if each.family}
        )
        for member in fleet.members:
            part = member.runner.window_part if member.runner is not None else 1.0
            if part < 1:
                hosted = [each for name in families_on(member, member.family, families) for each in work.get(name, ())]
                slower = speed_at(hosted, member.watch.slot.gpu_kind, part)
                speeds[member.server_id] = speeds.get(member.server_id, 1.0) * slower
        return speeds

    def _slot(self, slot: Slot, families: Mapping[str, FamilySeen], with_rows: Collection[str] = ()) -> SlotView:
        return slot_here(
            slot,
            fleet=self._fleet(),
            families=families,
            with_rows=with_rows,
            estimates=self._estimates,
            now=self._clock.monotonic(),
        )

    # --- jobs ---

    def _job_view(self, known: KnownJob, work: Mapping[str, Work], now: float) -> JobView:
        job = known.job
        return JobView(
            job_id=job.job_id,
            family_id=known.family,
            tenant=job.tenant,
            priority=job.priority,
            arrival=self._queue.arrival(job.job_id),
            work_s=_slot_s(work),
            deadline=self.moment(job.deadline, now),
            virtual_left_s=self._queue.left_s(job.job_id),
            virtual_finish=self._queue.finish(job.job_id),
        )

    def moment(self, time: datetime | None, now: float) -> float | None:
        """Return a time of the calendar as seconds of the view's clock."""
        return None if time is None else now + (time - self._clock.now()).total_seconds()

    def _outlook(
        self, jobs: Iterable[KnownJob], work: Mapping[str, Mapping[str, Work]], speeds: Mapping[str, float]
    ) -> Outlook:
        ids = [known.job.job_id for known in jobs]
        return Outlook(
            tails_s={job_id: _least_tail(work[job_id]) for job_id in ids},
            log_sigmas={job_id: _largest_sigma(work[job_id]) for job_id in ids},
            speeds=speeds,
        )


def _virtual(known: KnownJob, size_s: float, now: float) -> VirtualJob:
    job = known.job
    return VirtualJob(job_id=job.job_id, tenant=job.tenant, priority=job.priority, arrival=now, left_s=size_s)


def _smallest(slots: Iterable[Slot]) -> dict[str, Gpu]:
    """Return one GPU of each kind, the one with the least memory."""
    gpus: dict[str, Gpu] = {}
    for slot in slots:
        known = gpus.get(slot.gpu_kind)
        if known is None or 0 < slot.memory_bytes < (known.memory_bytes or ANY_MEMORY):
            gpus[slot.gpu_kind] = gpu_of(slot)
    return gpus


def _fraction(known: KnownJob) -> float:
    counts = known.job.counts
    return counts.ended / counts.total if counts.total else 0.0


def _slot_s(work: Mapping[str, Work]) -> dict[str, float]:
    # A job whose last rows are in flight has no work left, but must not vanish.
    return {kind: max(each.slot_s, 0.01) for kind, each in work.items()}


def _least_tail(work: Mapping[str, Work]) -> float:
    return min((each.tail_s for each in work.values()), default=0.0)


def _largest_sigma(work: Mapping[str, Work]) -> float:
    return max((each.log_sigma for each in work.values()), default=0.0)
