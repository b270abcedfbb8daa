"""A cluster in virtual time: jobs come, a policy plans, servers start, work, fail and stop."""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from lorax_batch_scheduler.packing.claims import reference_work
from lorax_batch_scheduler.packing.cluster import (
    ClusterView,
    DrainServer,
    FamilyView,
    HostedServer,
    HostedState,
    JobView,
    ServeJobs,
    SlotView,
    StartServer,
)
from lorax_batch_scheduler.packing.fair_clock import VirtualJob, advance
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.policy import Policy
from lorax_batch_scheduler.replay.rows import rows_of
from lorax_batch_scheduler.replay.server_model import ServerModel, kind_of, need_bytes, server_model
from lorax_batch_scheduler.replay.trace import Failure, Trace, TraceSlot
from lorax_batch_scheduler.replay.virtual_server import VirtualServer

PLAN_AFTER_S: Final = 1.0
"""Events are gathered for so long before a plan."""
PLAN_EVERY_S: Final = 30.0
WINDOW: Final = 1.3
"""Rows in flight may reserve so many times the KV tokens of a server."""
BITE_ROWS: Final = 32
EFFICIENCY: Final = 1.2
"""Servers take so much longer than the least that is possible: prefill stalls, unlike rows."""
FIRST_RATIO: Final = 0.5
"""Output over allowed tokens before any row of the family has ended."""
SWITCHING_SHARE: Final = 0.03
"""Of all slot time, what switching busy slots may spend."""
STEAL_ROWS: Final = 8


@dataclass(slots=True, eq=False)
class Hosted:
    """A server in the replay."""

    server_id: str
    family: str
    slot: TraceSlot
    model: ServerModel
    state: HostedState
    since: float
    started: float
    ready_at: float
    engine: VirtualServer | None = None
    version: int = 0
    idle_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A server's time on a slot, for the picture and the sums."""

    slot_id: str
    server_id: str
    family: str
    start: float
    ready: float | None
    end: float
    busy_s: float
    adapter_loads: int
    tokens: int
    reason: str


@dataclass(slots=True)
class Outcome:
    """What a replay has shown."""

    jobs: list[JobRun]
    stays: list[Stay]
    plans: int = 0
    plan_seconds: float = 0.0
    repeated_rows: int = 0


class Replay:
    """One run of a trace under a policy."""

    def __init__(self, trace: Trace, policy: Policy) -> None:
        self._trace = trace
        self._policy = policy
        self._models = {model.name: model for model in trace.models}
        self._families = {family.id: family for family in trace.families}
        self._slots = {slot.id: slot for slot in trace.slots}
        self._server_models = {
            (family.id, slot.id): made
            for family in trace.families
            for slot in trace.slots
            if (made := server_model(kind_of(trace, slot), slot.memory_bytes, self._models[family.model], family))
        }
        self._kinds: dict[str, int] = {}
        for slot in trace.slots:
            self._kinds[slot.kind] = self._kinds.get(slot.kind, 0) + 1
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = self._left = 0
        self._hosted: dict[str, Hosted] = {}
        self._on_slot: dict[str, list[Hosted]] = {slot.id: [] for slot in trace.slots}
        self._away: dict[str, float] = {}
        self._jobs: list[JobRun] = []
        self._unfinished: dict[str, JobRun] = {}
        self._orders: dict[str, tuple[str, ...]] = {}
        self._working: dict[tuple[str, str], int] = {}
        self._node_files: dict[str, set[tuple[str, str]]] = {}
        self._node_weights: set[tuple[str, str]] = set()
        self._virtual_left: dict[str, float] = {}
        self._virtual_finish: dict[str, float] = {}
        self._virtual_tenants: dict[str, VirtualJob] = {}
        self._virtual_now = 0.0
        self._ratios: dict[str, tuple[float, float]] = {}
        self._spent_s = 0.0
        self._plan_due: float | None = None
        self._outcome = Outcome(jobs=[], stays=[])
        self._weights = {tenant.id: tenant.weight for tenant in trace.tenants}
        self._job_models: dict[str, dict[str, ServerModel]] = {}

    def run(self) -> Outcome:
        """Play the whole trace."""
        for number, job in enumerate(self._trace.jobs):
            self._at(job.arrival_s, partial(self._arrive, number))
        for failure in self._trace.failures:
            self._at(failure.time_s, partial(self._fail, failure))
        self._jobs = [None] * len(self._trace.jobs)  # type: ignore[list-item]
        self._left = len(self._trace.jobs)
        while self._left and self._events:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        for hosted in list(self._hosted.values()):
            self._stop(hosted, "the trace has ended")
        self._outcome.jobs = self._jobs
        return self._outcome

    # --- events ---

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, happen))

    def _plan_if_due(self) -> None:
        if self._plan_due is not None and self.now >= self._plan_due:
            self._plan_due = None
            self._plan()

    def _engine_is_due(self, hosted: Hosted, version: int) -> None:
        if hosted.version == version and hosted.engine is not None:
            self._advance(hosted)

    def _ready_is_due(self, hosted: Hosted, version: int) -> None:
        if hosted.version == version and hosted.state is HostedState.STARTING:
            self._become_ready(hosted)

    def _back(self, slot_id: str) -> None:
        self._away.pop(slot_id, None)
        self._plan_soon()

    def _plan_soon(self, after: float = PLAN_AFTER_S) -> None:
        due = self.now + after
        if self._plan_due is None or due < self._plan_due:
            self._plan_due = due
            self._at(due, self._plan_if_due)

    def _arrive(self, number: int) -> None:
        job = self._trace.jobs[number]
        models = {
            slot.kind: made for slot in self._trace.slots if (made := self._server_models.get((job.family, slot.id)))
        }
        self._job_models[job.id] = models
        most = min((model.kv_tokens for model in models.values()), default=4096)
        run = JobRun(job, number, rows_of(job, number, max_tokens=most), grouped=self._policy.grouped)
        run.start = None
        self._jobs[number] = run
        self._unfinished[job.id] = run
        self._plan_soon()

    def _become_ready(self, hosted: Hosted) -> None:
        hosted.state, hosted.since, hosted.ready_at = HostedState.READY, self.now, self.now
        node = hosted.slot.node or hosted.slot.id
        self._node_weights.add((node, self._families[hosted.family].model))
        files = self._node_files.setdefault(node, set())
        hosted.engine = VirtualServer(hosted.model, speed=hosted.slot.speed, downloaded=files, family=hosted.family)
        self._share_gpu(hosted.slot.id)
        self._feed(hosted)
        self._plan_soon()

    def _advance(self, hosted: Hosted) -> None:
        engine = hosted.engine
        assert engine is not None
        for row in engine.advance(self.now):
            run = self._jobs[row.job]
            run.end(row)
            output, allowed = self._ratios.get(hosted.family, (0.0, 0.0))
            self._ratios[hosted.family] = output + row.output_tokens, allowed + row.reserved_tokens - row.prompt_tokens
            if run.left_rows == 0:
                run.finish = self.now
                del self._unfinished[run.trace.id]
                self._left -= 1
                self._plan_soon()
        self._feed(hosted)
        if engine.row_count == 0:
            if hosted.state is HostedState.DRAINING:
                self._stop(hosted, "drained")
                self._plan_soon(0.0)
            else:
                self._plan_soon()

    def _fail(self, failure: Failure) -> None:
        self._away[failure.slot] = self.now + failure.duration_s
        for hosted in list(self._on_slot[failure.slot]):
            if hosted.engine is not None:
                rows = hosted.engine.all_rows()
                self._outcome.repeated_rows += len(rows)
                self._return_rows(rows)
            self._stop(hosted, "its slot failed")
        self._at(self.now + failure.duration_s, partial(self._back, failure.slot))
        self._plan_soon()

    def _stop(self, hosted: Hosted, reason: str) -> None:
        engine = hosted.engine
        self._outcome.stays.append(
            Stay(
                slot_id=hosted.slot.id,
                server_id=hosted.server_id,
                family=hosted.family,
                start=hosted.started,
                ready=None if hosted.state is HostedState.STARTING else hosted.ready_at,
                end=self.now,
                busy_s=engine.counts.busy_s if engine else 0.0,
                adapter_loads=engine.counts.adapter_loads if engine else 0,
                tokens=engine.counts.tokens if engine else 0,
                reason=reason,
            )
        )
        hosted.version += 1
        del self._hosted[hosted.server_id]
        self._on_slot[hosted.slot.id].remove(hosted)
        self._share_gpu(hosted.slot.id)

    def _share_gpu(self, slot_id: str) -> None:
        ready = [hosted for hosted in self._on_slot[slot_id] if hosted.engine is not None]
        for hosted in ready:
            if hosted.engine is not None:
                hosted.engine.sharing = len(ready)

    def _return_rows(self, rows: Iterable) -> None:  # type: ignore[type-arg]
        by_job: dict[int, list] = {}  # type: ignore[type-arg]
        for row in rows:
            by_job.setdefault(row.job, []).append(row)
        for number, of_job in by_job.items():
            self._jobs[number].give_back(of_job)

    # --- rows ---

    def _feed(self, hosted: Hosted) -> None:
        """Fill a server's window from the jobs of its family."""
        engine = hosted.engine
        if engine is None or hosted.state is not HostedState.READY:
            if engine is not None:
                self._schedule(hosted)
            return
        elsewhere = self._elsewhere(hosted)
        full = self._fill(hosted, engine, elsewhere, force=False)
        if not full and engine.row_count < hosted.model.max_rows // 4:
            full = self._fill(hosted, engine, elsewhere, force=True)
        if not full and engine.row_count < STEAL_ROWS:
            self._steal(hosted)
        self._schedule(hosted)

    def _fill(self, hosted: Hosted, engine: VirtualServer, elsewhere: set[str], *, force: bool) -> bool:
        """Push rows until the window is full; return whether it is."""
        window = WINDOW * hosted.model.kv_tokens
        here = {*engine.adapters, *engine.loaded}
        for job_id in self._orders.get(hosted.family, ()):
            run = self._unfinished.get(job_id)
            if (
                run is None
                or not run.waiting_rows
                or not self._policy.may_serve(hosted.server_id, hosted.slot.id, job_id)
            ):
                continue
            while run.waiting_rows:
                if engine.reserved_tokens >= window or engine.row_count >= hosted.model.max_rows:
                    return True
                rows = run.take(BITE_ROWS, here, elsewhere, force=force)
                if not rows:
                    break
                if run.start is None:
                    run.start = self.now
                here.add(rows[0].adapter)
                engine.push(rows, self.now)
        return False

    def _elsewhere(self, hosted: Hosted) -> set[str]:
        found: set[str] = set()
        for other in self._hosted.values():
            if other is not hosted and other.family == hosted.family and other.engine is not None:
                found.update(other.engine.adapters)
                found.update(other.engine.loaded)
        return found

    def _steal(self, hosted: Hosted) -> None:
        """Take rows that wait on another server of the family."""
        others = [
            o for o in self._hosted.values() if o.family == hosted.family and o.engine is not None and o is not hosted
        ]
        for other in sorted(others, key=lambda o: -o.engine.row_count):  # type: ignore[union-attr]
            assert other.engine is not None
            assert hosted.engine is not None
            rows = other.engine.take_waiting(max(other.engine.waiting_count // 2, 0))
            if rows:
                hosted.engine.push(rows, self.now)
                return

    def _schedule(self, hosted: Hosted) -> None:
        hosted.version += 1
        if hosted.engine is not None and hosted.engine.row_count:
            hosted.idle_since = None
        elif hosted.idle_since is None:
            hosted.idle_since = self.now
        if hosted.engine is not None and hosted.engine.ends is not None:
            self._at(hosted.engine.ends, partial(self._engine_is_due, hosted, hosted.version))

    # --- plans ---

    def _plan(self) -> None:
        from time import perf_counter

        view = self.view()
        began = perf_counter()
        actions = self._policy.plan(view)
        self._outcome.plan_seconds += perf_counter() - began
        self._outcome.plans += 1
        for action in actions:
            match action:
                case ServeJobs():
                    self._orders[action.family_id] = action.job_ids
                case DrainServer():
                    self._drain(self._hosted[action.server_id])
                case StartServer():
                    self._start(self._slots[action.slot_id], action.family_id)
        for hosted in list(self._hosted.values()):
            if hosted.state is HostedState.READY:
                self._feed(hosted)
        if self._unfinished:
            self._plan_soon(PLAN_EVERY_S)

    def _start(self, slot: TraceSlot, family: str) -> None:
        self._number += 1
        model = self._server_models[family, slot.id]
        node = slot.node or slot.id
        seconds = model.cold_start_s
        if (node, self._families[family].model) not in self._node_weights:
            seconds += model.download_s
        server_id = f"{slot.id}/{self._number}"
        hosted = Hosted(server_id, family, slot, model, HostedState.STARTING, self.now, self.now, self.now + seconds)
        self._hosted[server_id] = hosted
        self._on_slot[slot.id].append(hosted)
        self._at(hosted.ready_at, partial(self._ready_is_due, hosted, hosted.version))

    def _drain(self, hosted: Hosted) -> None:
        if hosted.engine is not None and hosted.engine.row_count:
            self._spent_s += hosted.model.cold_start_s
            self._return_rows(hosted.engine.take_waiting(10**9))
        if hosted.engine is None or hosted.engine.row_count == 0:
            self._stop(hosted, "drained")
            self._plan_soon(0.0)
            return
        hosted.state, hosted.since = HostedState.DRAINING, self.now

    def view(self) -> ClusterView:
        """Return the cluster as a policy sees it."""
        self._advance_fair_clock()
        jobs = tuple(self._job_view(run) for run in self._unfinished.values())
        families = {job.family_id for job in jobs} | {hosted.family for hosted in self._hosted.values()}
        return ClusterView(
            now=self.now,
            slots=tuple(self._slot_view(slot) for slot in self._trace.slots),
            families=tuple(self._family_view(family) for family in sorted(families)),
            jobs=jobs,
            weights=self._weights,
            switching_budget_s=SWITCHING_SHARE * self.now * len(self._slots) + 600 - self._spent_s,
        )

    def _slot_view(self, slot: TraceSlot) -> SlotView:
        return SlotView(
            slot_id=slot.id,
            kind=slot.kind,
            memory_bytes=slot.memory_bytes,
            unusable="failed" if slot.id in self._away else "",
            servers=tuple(
                HostedServer(
                    server_id=hosted.server_id,
                    family_id=hosted.family,
                    state=hosted.state,
                    since=hosted.since,
                    ready_at=hosted.ready_at,
                    idle_since=hosted.idle_since,
                )
                for hosted in self._on_slot[slot.id]
            ),
        )

    def _family_view(self, family_id: str) -> FamilyView:
        model = self._models[self._families[family_id].model]
        setup = {
            slot.kind: made.cold_start_s
            for slot in self._trace.slots
            if (made := self._server_models.get((family_id, slot.id))) is not None
        }
        return FamilyView(family_id=family_id, need_bytes=need_bytes(model), setup_s=setup)

    def _job_view(self, run: JobRun) -> JobView:
        job = run.trace
        work = self._work(run)
        if job.id not in self._virtual_left and job.id not in self._virtual_finish:
            self._virtual_left[job.id] = reference_work(work, self._kinds)
            self._virtual_tenants[job.id] = VirtualJob(
                job_id=job.id, tenant=job.tenant, priority=job.priority, arrival=job.arrival_s, left_s=0.0
            )
        return JobView(
            job_id=job.id,
            family_id=job.family,
            tenant=job.tenant,
            priority=job.priority,
            arrival=job.arrival_s,
            work_s=work,
            deadline=job.deadline_s,
            virtual_left_s=self._virtual_left.get(job.id),
            virtual_finish=self._virtual_finish.get(job.id),
        )

    def _work(self, run: JobRun) -> dict[str, float]:
        rows = max(run.left_rows, 1)
        prompt, reserved = run.left_prompt / rows, run.left_reserved / rows
        output = (reserved - prompt) * self._ratio(run)
        models = self._job_models[run.trace.id]
        return {
            kind: rows * EFFICIENCY * model.least_s(prompt, output, reserved, adapter=run.with_adapters)
            for kind, model in models.items()
        }

    def _ratio(self, run: JobRun) -> float:
        if run.ended_rows >= 20:
            return run.ended_output / run.ended_allowed
        output, allowed = self._ratios.get(run.trace.family, (0.0, 0.0))
        return output / allowed if allowed else FIRST_RATIO

    def _advance_fair_clock(self) -> None:
        jobs = [
            VirtualJob(
                job_id=job_id,
                tenant=known.tenant,
                priority=known.priority,
                arrival=known.arrival,
                left_s=self._virtual_left[job_id],
            )
            for job_id, known in self._virtual_tenants.items()
            if job_id in self._virtual_left
        ]
        left, ended = advance(
            jobs, now=self._virtual_now, until=self.now, capacity=len(self._slots), weights=self._weights
        )
        self._virtual_left = left
        self._virtual_finish |= ended
        self._virtual_now = self.now
