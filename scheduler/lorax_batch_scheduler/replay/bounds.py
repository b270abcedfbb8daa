"""Lower bounds that no schedule can beat: see docs/packing.md for why each one holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.packing.fair_clock import VirtualJob, advance
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.rows import rows_of
from lorax_batch_scheduler.replay.server_model import (
    ADAPTER_DOWNLOAD_S,
    ADAPTER_LOAD_S,
    ServerModel,
    kind_of,
    server_model,
)
from lorax_batch_scheduler.replay.trace import Trace

PRICE_ROUNDS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBound:
    """What a job needs whatever happens; seconds."""

    arrival: float
    work_s: dict[str, float]
    """Least slot-seconds by kind."""
    chain_s: float
    """Its longest row alone on the fastest server."""
    setup_s: float
    """The shortest start of a server of its family."""
    alone_s: float
    """The least time from its arrival to its end if it had the cluster for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Least values for a trace."""

    makespan_s: float
    mean_flow_s: float
    gpu_s: float
    """Slot-seconds of all work at its best, with one start a family."""
    jobs: list[JobBound]


def bounds_of(trace: Trace) -> Bounds:
    """Compute the bounds of a trace."""
    return _Bounds(trace).bounds()


class _Bounds:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        models = {model.name: model for model in trace.models}
        self._models: dict[str, dict[str, ServerModel]] = {}
        for family in trace.families:
            by_kind: dict[str, ServerModel] = {}
            for slot in trace.slots:
                kind = kind_of(trace, slot)
                made = server_model(kind, slot.memory_bytes, models[family.model], family)
                # The best slot of each kind: more memory, never slower.
                if made is not None and (slot.kind not in by_kind or made.kv_tokens > by_kind[slot.kind].kv_tokens):
                    by_kind[slot.kind] = made
            self._models[family.id] = by_kind
        self._counts: dict[str, float] = {}
        for slot in trace.slots:
            # A slot that is faster than its kind counts for more; a slower one for less.
            self._counts[slot.kind] = self._counts.get(slot.kind, 0.0) + slot.speed
        self._fastest = max(slot.speed for slot in trace.slots)
        self._loads_s = self._least_loads()
        self._jobs = [self._job(number) for number in range(len(trace.jobs))]

    def bounds(self) -> Bounds:
        jobs = self._jobs
        last = max(job.arrival + job.alone_s for job in jobs)
        makespan = max(last, self._released_bound())
        alone = sum(job.alone_s for job in jobs) / len(jobs)
        return Bounds(
            makespan_s=makespan,
            mean_flow_s=max(alone, self._srpt_flow()),
            gpu_s=sum(min(job.work_s.values()) for job in jobs) + self._family_setups(jobs),
            jobs=jobs,
        )

    def _job(self, number: int) -> JobBound:
        job = self._trace.jobs[number]
        models = self._models[job.family]
        most = min((model.kv_tokens for model in models.values()), default=4096)
        kv_s = dict.fromkeys(models, 0.0)
        permit_s = dict.fromkeys(models, 0.0)
        longest: dict[str, float] = dict.fromkeys(models, 0.0)
        for row in rows_of(job, number, max_tokens=most):
            factor = 1.4 if row.adapter else 1.0
            steps = row.output_tokens - 1
            for kind, model in models.items():
                prefill = model.prefill_token_s * row.prompt_tokens
                base, each = model.decode_base_s, model.decode_row_s
                kv_s[kind] += prefill + factor * steps * (base * row.reserved_tokens / model.kv_tokens + each)
                permit_s[kind] += prefill + factor * steps * (base / model.max_rows + each)
                chain = prefill + model.prefill_base_s + factor * steps * (base + each)
                longest[kind] = max(longest[kind], chain)
        work = {kind: max(kv_s[kind], permit_s[kind]) for kind in models}
        setup = min(model.cold_start_s for model in models.values())
        chain_s = min(longest.values()) / self._fastest
        rate = sum(self._counts[kind] / work[kind] for kind in models if work[kind] > 0)
        spread = 1 / rate if rate else 0.0
        # The family may be running already when the job comes: only a job that comes first must wait for a start.
        return JobBound(
            arrival=job.arrival_s, work_s=work, chain_s=chain_s, setup_s=setup, alone_s=max(chain_s, spread)
        )

    def _least_loads(self) -> dict[str, float]:
        """Return the seconds that loading each adapter once takes, by family."""
        adapters: dict[str, set[str]] = {family.id: set() for family in self._trace.families}
        for job in self._trace.jobs:
            adapters[job.family].update(group.adapter for group in job.rows)
            if job.drawn is not None:
                adapters[job.family].update(row.adapter for row in rows_of(job, 0, max_tokens=4096))
        return {family: len(names - {""}) * (ADAPTER_LOAD_S + ADAPTER_DOWNLOAD_S) for family, names in adapters.items()}

    def _family_setups(self, jobs: Sequence[JobBound]) -> float:
        families = {self._trace.jobs[self._jobs.index(job)].family for job in jobs}
        return sum(min(model.cold_start_s for model in self._models[family].values()) for family in families)

    def _released_bound(self) -> float:
        """What comes after any moment can't be done before that moment plus its work on all slots."""
        order = sorted(range(len(self._jobs)), key=lambda number: self._jobs[number].arrival)
        best = 0.0
        moments = sorted({self._jobs[number].arrival for number in order})
        if len(moments) > 40:
            moments = [moments[index * len(moments) // 40] for index in range(40)]
        for moment in moments:
            late = [number for number in order if self._jobs[number].arrival >= moment]
            best = max(best, moment + self._least_span(late, with_setup=moment == moments[0]))
        return best

    def _least_span(self, numbers: Sequence[int], *, with_setup: bool) -> float:
        """Return the least time for these jobs on all slots, for any split over kinds.

        For any prices of kinds, each family's work costs at least its cheapest kind: T x sum(slots x price) >= sum
        over families of min over kinds of (price x work). The best of many prices is taken.
        """
        work: dict[str, dict[str, float]] = {}
        for number in numbers:
            of_family = work.setdefault(self._trace.jobs[number].family, {})
            for kind, seconds in self._jobs[number].work_s.items():
                of_family[kind] = of_family.get(kind, 0.0) + seconds
        setups = {family: min(m.cold_start_s for m in self._models[family].values()) for family in work}
        prices = dict.fromkeys(self._counts, 1.0)
        best = 0.0
        for _ in range(PRICE_ROUNDS if len(prices) > 1 else 1):
            total = sum(prices[kind] * count for kind, count in self._counts.items())
            load = dict.fromkeys(prices, 0.0)
            cost = 0.0
            for family, by_kind in work.items():
                kind = min(by_kind, key=lambda kind: by_kind[kind] * prices[kind])
                load[kind] += by_kind[kind]
                cost += by_kind[kind] * prices[kind]
                if with_setup:
                    cost += self._loads_s[family] * min(prices[kind] * self._slowest(kind) for kind in by_kind)
                    cost += setups[family] * min(prices[kind] * self._slowest(kind) for kind in by_kind)
            best = max(best, cost / total)
            levels = {kind: load[kind] / self._counts[kind] for kind in prices}
            mean = sum(levels.values()) / len(levels)
            if mean <= 0:
                break
            for kind in prices:
                prices[kind] *= 1 + 0.1 * max(min(levels[kind] / mean - 1, 1.0), -0.5)
        return best

    def _slowest(self, kind: str) -> float:
        """A cold start takes a slot's time whatever its speed; slots count by speed."""
        return min(slot.speed for slot in self._trace.slots if slot.kind == kind)

    def _srpt_flow(self) -> float:
        """Mean flow time of shortest-remaining-first on one machine as fast as all slots: nothing has less in total."""
        sizes = {number: self._slot_free_size(number) for number in range(len(self._jobs))}
        order = sorted(sizes, key=lambda number: self._jobs[number].arrival)
        left: dict[str, VirtualJob] = {}
        now, flow, index = 0.0, 0.0, 0
        while index < len(order) or left:
            until = self._jobs[order[index]].arrival if index < len(order) else now + 1e12
            rest, ended = advance(left.values(), now=now, until=until, capacity=1.0, weights={})
            for job_id, time in ended.items():
                flow += time - left[job_id].arrival
            left = {job_id: _with_left(left[job_id], seconds) for job_id, seconds in rest.items()}
            now = until
            if index < len(order):
                number = order[index]
                job = self._jobs[number]
                left[str(number)] = VirtualJob(
                    job_id=str(number), tenant="", priority=0, arrival=job.arrival, left_s=sizes[number]
                )
                index += 1
        return flow / len(self._jobs)

    def _slot_free_size(self, number: int) -> float:
        """Return the least seconds of the whole cluster that a job takes."""
        work = self._jobs[number].work_s
        rate = sum(self._counts[kind] / seconds for kind, seconds in work.items() if seconds > 0)
        return 1 / rate if rate else 0.0


def _with_left(job: VirtualJob, left_s: float) -> VirtualJob:
    return VirtualJob(job_id=job.job_id, tenant=job.tenant, priority=job.priority, arrival=job.arrival, left_s=left_s)


def alone(run: JobRun, bound: JobBound) -> float:
    """Return the least flow time of a job, not less than a second."""
    del run
    return max(bound.alone_s, 1.0)
