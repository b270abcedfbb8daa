"""Lower bounds that no schedule can beat: see docs/packing.md for why each one holds."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.replay.capacity import Capacity
from lorax_batch_scheduler.replay.job_bound import JobBound, job_bounds
from lorax_batch_scheduler.replay.prices import price_rounds
from lorax_batch_scheduler.replay.server_model import ServerModels
from lorax_batch_scheduler.replay.trace import Trace

MOMENTS: Final = 40
"""So many arrivals are tried as the moment after which all later work is counted."""
CUTS: Final = 12
"""So many sizes are tried as the border between jobs bounded alone and jobs bounded together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Least values for a trace."""

    makespan_s: float
    mean_flow_s: float
    jobs: list[JobBound]
    family_work_s: dict[str, dict[str, float]]
    """Least slot-seconds by family and kind."""
    family_start_s: dict[str, float]
    """The shortest start of a server of each family."""
    family_loads_s: dict[str, float]
    """What loading each adapter once takes."""
    slot_speeds: dict[str, list[float]]
    """Of the slots of each kind."""

    def gpu_s(self, span_s: float) -> float:
        """Return the least slot-seconds, from starts to ends of servers, of any schedule that ends within a span.

        The work goes to the kinds where it takes least, as far as their slots last that long.
        """
        speeds = self.slot_speeds
        fastest = {kind: max(speeds[kind]) for kind in speeds}
        counts = {kind: len(each) for kind, each in speeds.items()}
        work = {
            family: {kind: seconds / fastest[kind] for kind, seconds in by_kind.items()}
            for family, by_kind in self.family_work_s.items()
        }
        starts = sum(self._least_starts(by_kind, span_s) * self.family_start_s[f] for f, by_kind in work.items())
        best = 0.0
        for prices in price_rounds(work, counts):
            least = min(prices.values())
            over = {kind: price / least - 1 for kind, price in prices.items()}
            cost = sum(min(by[kind] * (1 + over[kind]) for kind in by) for by in work.values())
            best = max(best, cost - sum(over[kind] * counts[kind] * span_s for kind in counts))
        return best + starts + sum(self.family_loads_s.values())

    def _least_starts(self, by_kind: Mapping[str, float], span_s: float) -> int:
        """A server works for no longer than the span: work that takes more needs more servers."""
        return max(int(-(-min(by_kind.values()) // max(span_s, 1e-9))), 1)


def bounds_of(trace: Trace) -> Bounds:
    """Compute the bounds of a trace."""
    return _Bounds(trace).bounds()


class _Bounds:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._servers = ServerModels(trace)
        self._capacity = Capacity(trace, self._servers)
        self._jobs = job_bounds(trace, self._servers)
        self._speeds: dict[str, list[float]] = {}
        for slot in trace.slots:
            self._speeds.setdefault(slot.kind, []).append(slot.speed)
        self._open = {kind: sum(speeds) for kind, speeds in self._speeds.items()}
        self._loads_s = self._least_loads()
        self._work_s = self._work(range(len(trace.jobs)))
        self._prices = self._best_prices(self._work_s)

    def bounds(self) -> Bounds:
        last = max(job.arrival + job.alone_s for job in self._jobs)
        families = self._work_s
        starts = {f: min(model.cold_start_s for model in self._servers.by_kind(f).values()) for f in families}
        return Bounds(
            makespan_s=max(last, self._span()),
            mean_flow_s=self._total_flow() / len(self._jobs),
            jobs=self._jobs,
            family_work_s=families,
            family_start_s=starts,
            family_loads_s=self._loads_s,
            slot_speeds=self._speeds,
        )

    def _work(self, numbers: Collection[int]) -> dict[str, dict[str, float]]:
        work: dict[str, dict[str, float]] = {}
        for number in numbers:
            of_family = work.setdefault(self._trace.jobs[number].family, {})
            for kind, seconds in self._jobs[number].work_s.items():
                of_family[kind] = of_family.get(kind, 0.0) + seconds
        return work

    def _least_loads(self) -> dict[str, float]:
        """Return the seconds that loading each adapter once takes, by family."""
        adapters: dict[str, set[str]] = {}
        for job, bound in zip(self._trace.jobs, self._jobs, strict=True):
            adapters.setdefault(job.family, set()).update(bound.adapters)
        return {family: len(names) * self._servers.first_load_s() for family, names in adapters.items()}

    def _best_prices(self, work: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Return the prices under which the work takes longest: any prices give a bound, these the best."""

        def span(prices: dict[str, float]) -> float:
            return _cost(work, prices) / sum(prices[kind] * speed for kind, speed in self._open.items())

        return max(price_rounds(work, self._open), key=span)

    def _span(self) -> float:
        """What comes after any moment isn't done before that moment plus its work on all slots."""
        arrivals = sorted({job.arrival for job in self._jobs})
        moments = sorted({arrivals[index * len(arrivals) // MOMENTS] for index in range(MOMENTS)})
        best = 0.0
        for moment in moments:
            work = self._work([n for n, job in enumerate(self._jobs) if job.arrival >= moment])
            prices = self._best_prices(work)
            cost = _cost(work, prices)
            if moment == moments[0]:  # what servers of before have loaded is not known for later moments
                cost += sum(self._loads_s[f] * min(self._slowest(prices, kind) for kind in work[f]) for f in work)
            best = max(best, self._capacity.done_at(cost, prices, after=moment))
        return best

    def _slowest(self, prices: Mapping[str, float], kind: str) -> float:
        """A load takes a slot's time whatever its speed, and slots count by speed."""
        return prices[kind] * min(self._speeds[kind])

    def _total_flow(self) -> float:
        """Bound some jobs by what each needs alone, the others together: the best of many ways to part them."""
        costs = [_cost({"": job.work_s}, self._prices) for job in self._jobs]
        order = sorted(range(len(self._jobs)), key=lambda number: (costs[number], number))
        best = 0.0
        for cut in sorted({index * len(order) // CUTS for index in range(CUTS + 1)}):
            alone = sum(self._jobs[number].alone_s for number in order[:cut])
            best = max(best, alone + self._flow_together(order[cut:], costs))
        return best

    def _flow_together(self, numbers: Sequence[int], costs: Sequence[float]) -> float:
        """Return the total flow of shortest-remaining-first on one machine that does all that the slots can do."""
        order = sorted(numbers, key=lambda number: (self._jobs[number].released, number))
        releases = [self._jobs[number].released for number in order]
        left: list[tuple[float, int]] = []
        total = 0.0
        now = self._capacity.done_at(self._loads_before(numbers), self._prices, after=0.0)
        index = 0
        while index < len(order) or left:
            if not left:
                now = max(now, releases[index])
            while index < len(order) and releases[index] <= now:
                heapq.heappush(left, (costs[order[index]], order[index]))
                index += 1
            cost, number = heapq.heappop(left)
            until = releases[index] if index < len(order) else float("inf")
            ends = self._capacity.done_at(cost, self._prices, after=now)
            if ends <= until:
                now = ends
                total += now - self._jobs[number].arrival
            else:
                heapq.heappush(left, (cost - self._capacity.done_by(until, self._prices, after=now), number))
                now = until
        return total

    def _loads_before(self, numbers: Sequence[int]) -> float:
        """Return what the loads cost that come before any of these jobs ends: at least those of one of them."""
        return min((len(self._jobs[number].adapters) * self._load_cost(number) for number in numbers), default=0.0)

    def _load_cost(self, number: int) -> float:
        kinds = self._jobs[number].work_s
        return self._servers.first_load_s() * min(self._slowest(self._prices, kind) for kind in kinds)


def _cost(work: Mapping[str, Mapping[str, float]], prices: Mapping[str, float]) -> float:
    """Return what the work costs at least: each family's on the kind where that is cheapest."""
    return sum(min(by_kind[kind] * prices[kind] for kind in by_kind) for by_kind in work.values())
