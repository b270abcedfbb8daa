"""A cluster in virtual time: jobs come, a policy plans, servers start, work, fail and stop."""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

from lorax_batch_scheduler.packing import DrainServer, ExplainJob, HostedState, ServeJobs, StartServer
from lorax_batch_scheduler.packing.cluster import ClusterView
from lorax_batch_scheduler.replay.feeding import Feeding
from lorax_batch_scheduler.replay.hosted import Hosted
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.knowledge import Knowledge
from lorax_batch_scheduler.replay.policy import Policy
from lorax_batch_scheduler.replay.rows import rows_of
from lorax_batch_scheduler.replay.server_model import ServerModels
from lorax_batch_scheduler.replay.trace import Failure, Trace
from lorax_batch_scheduler.replay.virtual_server import VirtualRow, VirtualServer

PLAN_AFTER_S: Final = 1.0
"""Events are gathered for so long before a plan."""
PLAN_EVERY_S: Final = 30.0
PLAN_JOB_S: Final = 0.001
"""Jobs that come and end are gathered for so much longer for each that has not ended: a plan looks at all of them."""
PLAN_EMPTY_EVERY_S: Final = 3_600.0
"""When nothing runs or starts, only an event changes that: a slot that comes back may take a year."""


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

    def __init__(self, trace: Trace, policy: Policy, *, on_plan: Callable[[int], None] = lambda ended: None) -> None:
        """`on_plan` is told after each plan how many jobs have ended."""
        self._trace = trace
        self._on_plan = on_plan
        self._policy = policy
        self._servers = ServerModels(trace)
        self._model_of = {family.id: family.model for family in trace.families}
        self._slots = {slot.id: slot for slot in trace.slots}
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._hosted: dict[str, Hosted] = {}
        self._on_slot: dict[str, list[Hosted]] = {slot.id: [] for slot in trace.slots}
        self._away: dict[str, float] = {}
        self._runs: dict[int, JobRun] = {}
        self._unfinished: dict[str, JobRun] = {}
        self._node_files: dict[str, set[tuple[str, str]]] = {}
        self._node_weights: set[tuple[str, str]] = set()
        self._spent_s = 0.0
        self._plan_due: float | None = None
        self._planned = 0.0
        self._outcome = Outcome(jobs=[], stays=[])
        self._knowledge = Knowledge(
            trace, self._servers, on_slot=self._on_slot, away=self._away, unfinished=self._unfinished
        )
        self._feeding = Feeding(policy, self._hosted, self._unfinished)

    def run(self) -> Outcome:
        """Play the whole trace."""
        for number, job in enumerate(self._trace.jobs):
            self._at(job.arrival_s, partial(self._arrive, number))
        for failure in self._trace.failures:
            self._at(failure.time_s, partial(self._fail, failure))
        left = len(self._trace.jobs)
        while self._events and (self._unfinished or len(self._runs) < left):
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        for hosted in list(self._hosted.values()):
            self._stop(hosted, "the trace has ended")
        self._outcome.jobs = [self._runs[number] for number in sorted(self._runs)]
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
        if self._away.get(slot_id, 0.0) <= self.now:  # else it has failed again meanwhile
            self._away.pop(slot_id, None)
            self._plan_soon()

    def _plan_soon(self, after: float = PLAN_AFTER_S) -> None:
        due = self.now + after
        if self._plan_due is None or due < self._plan_due:
            self._plan_due = due
            self._at(due, self._plan_if_due)

    def _plan_in_time(self) -> None:
        """A job came or ended: plan soon, unless there are so many that one more or less can wait a little."""
        self._plan_soon(max(PLAN_AFTER_S, self._planned + PLAN_JOB_S * len(self._unfinished) - self.now))

    def _arrive(self, number: int) -> None:
        job = self._trace.jobs[number]
        rows = rows_of(job, number, max_tokens=self._servers.row_tokens(job.family))
        run = JobRun(job, number, rows, grouped=self._policy.grouped)
        self._runs[number] = run
        self._unfinished[job.id] = run
        self._plan_in_time()

    def _become_ready(self, hosted: Hosted) -> None:
        hosted.state, hosted.since, hosted.ready_at = HostedState.READY, self.now, self.now
        node = hosted.slot.node or hosted.slot.id
        self._node_weights.add((node, self._model_of[hosted.family]))
        files = self._node_files.setdefault(node, set())
        hosted.engine = VirtualServer(hosted.model, speed=hosted.slot.speed, downloaded=files, family=hosted.family)
        self._feed(hosted)
        self._plan_soon()

    def _advance(self, hosted: Hosted) -> None:
        engine = hosted.engine
        assert engine is not None
        for row in engine.advance(self.now):
            run = self._runs[row.job]
            run.end(row)
            self._knowledge.learn(hosted.family, row)
            if run.left_rows == 0:
                run.finish = self.now
                del self._unfinished[run.trace.id]
                self._plan_in_time()
        self._feed(hosted)
        if engine.row_count == 0:
            if hosted.state is HostedState.DRAINING:
                self._stop(hosted, "drained")
                self._plan_soon(0.0)
            else:
                self._plan_soon()

    def _fail(self, failure: Failure) -> None:
        self._away[failure.slot] = max(self._away.get(failure.slot, 0.0), self.now + failure.duration_s)
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
        """Servers at work on one GPU slow each other: tell those that are how many they are."""
        here = [(hosted, hosted.engine) for hosted in self._on_slot[slot_id] if hosted.engine is not None]
        busy = sum(engine.row_count > 0 for _, engine in here)
        for hosted, engine in here:
            if engine.row_count and engine.sharing != busy:
                engine.share(busy, self.now)
            self._schedule(hosted)

    def _return_rows(self, rows: Iterable[VirtualRow]) -> None:
        by_job: dict[int, list[VirtualRow]] = {}
        for row in rows:
            by_job.setdefault(row.job, []).append(row)
        for number, of_job in by_job.items():
            self._runs[number].give_back(of_job)
        self._feeding.rows_are_back()

    # --- rows ---

    def _feed(self, hosted: Hosted) -> None:
        self._feeding.feed(hosted, self.now)
        if hosted.engine is not None and hosted.engine.row_count:
            hosted.idle_since = None
        elif hosted.idle_since is None:
            hosted.idle_since = self.now
        self._share_gpu(hosted.slot.id)

    def _schedule(self, hosted: Hosted) -> None:
        if hosted.engine is not None and hosted.engine.ends is not None and hosted.engine.ends != hosted.due:
            hosted.version += 1
            hosted.due = hosted.engine.ends
            self._at(hosted.due, partial(self._engine_is_due, hosted, hosted.version))

    # --- plans ---

    def view(self) -> ClusterView:
        """Return what the policy sees now."""
        return self._knowledge.view(self.now, spent_s=self._spent_s)

    def _plan(self) -> None:
        self._planned = self.now
        view = self.view()
        began = perf_counter()
        actions = self._policy.plan(view)
        self._outcome.plan_seconds += perf_counter() - began
        self._outcome.plans += 1
        for action in actions:
            match action:
                case ServeJobs():
                    self._feeding.obey(action)
                case DrainServer():
                    self._drain(self._hosted[action.server_id])
                case StartServer():
                    self._start(action)
                case ExplainJob():
                    pass
        for hosted in list(self._hosted.values()):
            if hosted.state is HostedState.READY:
                self._feed(hosted)
        self._on_plan(len(self._runs) - len(self._unfinished))
        if self._unfinished:
            many_s = PLAN_JOB_S * len(self._unfinished)
            self._plan_soon(max(PLAN_EVERY_S, many_s) if self._hosted else PLAN_EMPTY_EVERY_S)

    def _start(self, action: StartServer) -> None:
        self._number += 1
        slot, family = self._slots[action.slot_id], action.family_id
        model = self._servers.with_memory(family, slot, action.memory_bytes)
        node = slot.node or slot.id
        seconds = model.cold_start_s
        if (node, self._model_of[family]) not in self._node_weights:
            seconds += model.download_s
        server_id = f"{slot.id}/{self._number}"
        hosted = Hosted(
            server_id=server_id,
            family=family,
            slot=slot,
            memory_bytes=action.memory_bytes,
            model=model,
            state=HostedState.STARTING,
            since=self.now,
            started=self.now,
            ready_at=self.now + seconds,
        )
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
