"""What a planner knows of a replay's cluster: slots and servers as they are, work as it is estimated."""

from collections.abc import Mapping, Sequence
from typing import Final

from lorax_batch_scheduler.packing import ClusterView, FamilyView, HostedServer, JobView, SlotView
from lorax_batch_scheduler.packing.claims import reference_work
from lorax_batch_scheduler.packing.fair_clock import VirtualJob
from lorax_batch_scheduler.packing.fair_queue import FairQueue
from lorax_batch_scheduler.replay.hosted import Hosted
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.server_model import ServerModels, need_bytes
from lorax_batch_scheduler.replay.trace import Trace, TraceSlot
from lorax_batch_scheduler.replay.virtual_server import VirtualRow

EFFICIENCY: Final = 1.2
"""Servers take so much longer than the least that is possible: prefill stalls, unlike rows."""
FIRST_RATIO: Final = 0.5
"""Output over allowed tokens before any row of the family has ended."""
SWITCHING_SHARE: Final = 0.03
"""Of all slot time, what switching busy slots may spend."""
FIRST_BUDGET_S: Final = 600.0


class Knowledge:
    """Learns from rows that end, and keeps the fair clock."""

    def __init__(
        self,
        trace: Trace,
        servers: ServerModels,
        *,
        on_slot: Mapping[str, Sequence[Hosted]],
        away: Mapping[str, float],
        unfinished: Mapping[str, JobRun],
    ) -> None:
        """`on_slot`, `away` and `unfinished` are looked at each time, and change meanwhile."""
        self._trace = trace
        self._servers = servers
        self._on_slot = on_slot
        self._away = away
        self._unfinished = unfinished
        self._models = {model.name: model for model in trace.models}
        self._families = {family.id: family for family in trace.families}
        self._weights = {tenant.id: tenant.weight for tenant in trace.tenants}
        self._slot_count = len(trace.slots)
        self._kinds: dict[str, int] = {}
        for slot in trace.slots:
            self._kinds[slot.kind] = self._kinds.get(slot.kind, 0) + 1
        self._queue = FairQueue()
        self._ratios: dict[str, tuple[float, float]] = {}

    def learn(self, family_id: str, row: VirtualRow) -> None:
        """Take note of a row that has ended."""
        output, allowed = self._ratios.get(family_id, (0.0, 0.0))
        self._ratios[family_id] = output + row.output_tokens, allowed + row.reserved_tokens - row.prompt_tokens

    def view(self, now: float, *, spent_s: float) -> ClusterView:
        """Return the cluster as a policy sees it. `spent_s`: what switching busy slots has cost so far."""
        work_s = {run.trace.id: self._work(run) for run in self._unfinished.values()}
        self._advance_fair_clock(now, work_s)
        jobs = tuple(self._job_view(run, work_s[run.trace.id]) for run in self._unfinished.values())
        families = {job.family_id for job in jobs} | {
            hosted.family for servers in self._on_slot.values() for hosted in servers
        }
        return ClusterView(
            now=now,
            slots=tuple(self._slot_view(slot) for slot in self._trace.slots),
            families=tuple(self._family_view(family) for family in sorted(families)),
            jobs=jobs,
            weights=self._weights,
            switching_budget_s=SWITCHING_SHARE * now * self._slot_count + FIRST_BUDGET_S - spent_s,
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
                    memory_bytes=hosted.memory_bytes,
                )
                for hosted in self._on_slot[slot.id]
            ),
        )

    def _family_view(self, family_id: str) -> FamilyView:
        model = self._models[self._families[family_id].model]
        setup = {
            slot.kind: made.cold_start_s
            for slot in self._trace.slots
            if (made := self._servers.on_slot(family_id, slot)) is not None
        }
        return FamilyView(
            family_id=family_id,
            need_bytes=need_bytes(model, self._servers.row_tokens(family_id)),
            setup_s=setup,
            full_row_s=self._full_row_s(family_id),
        )

    def _full_row_s(self, family_id: str) -> float:
        """Return how long a row takes on a full server of the quickest kind: its part of the time, times the rows."""
        runs = [run for run in self._unfinished.values() if run.trace.family == family_id]
        rows = sum(run.left_rows for run in runs)
        if not rows:
            return 0.0
        prompt, reserved = sum(run.left_prompt for run in runs) / rows, sum(run.left_reserved for run in runs) / rows
        output = (reserved - prompt) * self.ratio(runs[0])
        adapter = any(run.with_adapters for run in runs)
        return min(
            min(model.kv_tokens / reserved, model.max_rows) * model.least_s(prompt, output, reserved, adapter=adapter)
            for model in self._servers.by_kind(family_id).values()
        )

    def _job_view(self, run: JobRun, work_s: Mapping[str, float]) -> JobView:
        job = run.trace
        return JobView(
            job_id=job.id,
            family_id=job.family,
            tenant=job.tenant,
            priority=job.priority,
            arrival=job.arrival_s,
            work_s=work_s,
            deadline=job.deadline_s,
            virtual_left_s=self._queue.left_s(job.id),
            virtual_finish=self._queue.finish(job.id),
        )

    def _work(self, run: JobRun) -> dict[str, float]:
        rows = max(run.left_rows, 1)
        prompt, reserved = run.left_prompt / rows, run.left_reserved / rows
        output = (reserved - prompt) * self.ratio(run)
        models = self._servers.by_kind(run.trace.family)
        return {
            kind: rows * EFFICIENCY * model.least_s(prompt, output, reserved, adapter=run.with_adapters)
            for kind, model in models.items()
        }

    def ratio(self, run: JobRun) -> float:
        """Return output over allowed tokens: of the job's rows that have ended, else of its family's."""
        if run.ended_rows >= 20:
            return run.ended_output / run.ended_allowed
        output, allowed = self._ratios.get(run.trace.family, (0.0, 0.0))
        return output / allowed if allowed else FIRST_RATIO

    def _advance_fair_clock(self, now: float, work_s: Mapping[str, Mapping[str, float]]) -> None:
        jobs = [
            VirtualJob(
                job_id=run.trace.id,
                tenant=run.trace.tenant,
                priority=run.trace.priority,
                arrival=run.trace.arrival_s,
                left_s=reference_work(work_s[run.trace.id], self._kinds),
            )
            for run in self._unfinished.values()
        ]
        self._queue.advance(jobs, now=now, capacity=self._slot_count, weights=self._weights)
