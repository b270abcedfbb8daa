"""The jobs of one family as a fluid, and the servers that pour it away."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidServer:
    """A server of the family from when it is ready on."""

    ready_at: float
    rate: float
    """Seconds of work, as measured on the family's reference kind, that it does in one."""


class FluidFamily:
    """Served in order, one job after another, by all of its servers together."""

    def __init__(
        self,
        family_id: str,
        jobs: Sequence[tuple[str, Mapping[str, float]]],
        *,
        urgency: tuple[float, float, str],
        now: float,
    ) -> None:
        """`jobs`: ids with work by kind, in the order of service."""
        self.family_id = family_id
        self.urgency = urgency
        self.servers: dict[str, FluidServer] = {}
        totals: dict[str, float] = {}
        for _, work in jobs:
            for kind, seconds in work.items():
                totals[kind] = totals.get(kind, 0.0) + seconds
        self._totals = totals
        self._reference = min(totals, default="")
        self._queue = [(job_id, _on(work, self._reference)) for job_id, work in reversed(jobs)]
        self.left_s = sum(seconds for _, seconds in self._queue)
        """Work left at the time it was last advanced to, on the reference kind."""
        self._now = now
        self._began = now
        """When the first job of the queue began to be served."""
        self._head_left = self._queue[-1][1] if self._queue else 0.0
        self._first_ready = math.inf
        self._done_at: float | None = None

    def cost_on(self, kind: str) -> float:
        """Return how much work it all is on a kind."""
        return self._totals.get(kind, math.inf)

    def join(self, slot_id: str, kind: str, *, ready_at: float, speed: float) -> None:
        """Let a server take part."""
        work = self._totals.get(kind, 0.0)
        reference = self._totals.get(self._reference, 0.0)
        rate = speed * (reference / work if work > 0 else 1.0)
        self.servers[slot_id] = FluidServer(ready_at=ready_at, rate=rate)
        self._first_ready = min(self._first_ready, ready_at)
        self._done_at = None

    def leave(self, slot_id: str) -> None:
        """Take a server away."""
        del self.servers[slot_id]
        self._first_ready = min((server.ready_at for server in self.servers.values()), default=math.inf)
        self._done_at = None

    def excess(self, slot_count: int, total_s: float) -> float:
        """Return how many slots it has beyond its part of all work."""
        part = math.ceil(slot_count * self.left_s / total_s) if total_s > 0 else 1
        return float(len(self.servers) - max(part, 1))

    def done_at(self) -> float:
        """Return when all of its work will be done with the servers that it has."""
        if self._done_at is None:
            self._done_at = self._reach(self._now, self.left_s)
        return self._done_at

    def load_with(self, servers: int, now: float) -> float:
        """Return about how long each of so many servers would work on what is left."""
        return (self.done_at() - now) * len(self.servers) / servers

    def advance(self, until: float) -> list[tuple[str, float, float]]:
        """Let time pass; return the jobs that ended: their id, when they were begun, and when they ended."""
        ended: list[tuple[str, float, float]] = []
        spans = self._spans(self._now, until)
        for start, end, rate in spans:
            at = start
            while self._queue and rate > 0:
                needs = self._head_left / rate
                # The end of a span was computed from this very work: what is left then is rounding.
                if at + needs > end * (1 + 1e-12) + 1e-9:
                    poured = (end - at) * rate
                    self._head_left -= poured
                    self.left_s -= poured
                    break
                at = min(at + needs, end)
                self.left_s = max(self.left_s - self._head_left, 0.0)
                job_id, _ = self._queue.pop()
                ended.append((job_id, max(self._began, min(self._first_ready, at)), at))
                self._began = at
                self._head_left = self._queue[-1][1] if self._queue else 0.0
        self._now = max(self._now, until)
        return ended

    def _spans(self, start: float, end: float) -> list[tuple[float, float, float]]:
        """Return the times between changes of the number of ready servers, with the rate in each."""
        edges = sorted({start, *(s.ready_at for s in self.servers.values() if start < s.ready_at < end)})
        return [
            (begin, until, sum(s.rate for s in self.servers.values() if s.ready_at <= begin))
            for begin, until in zip(edges, [*edges[1:], end], strict=True)
        ]

    def _reach(self, start: float, work_s: float) -> float:
        """Return when so much work is done."""
        rate, at, left = 0.0, start, work_s
        for server in sorted(self.servers.values(), key=lambda each: each.ready_at):
            if server.ready_at > at:
                poured = (server.ready_at - at) * rate
                if poured >= left:
                    break
                left -= poured
                at = server.ready_at
            rate += server.rate
        return at + left / rate if rate > 0 else math.inf


def _on(work: Mapping[str, float], kind: str) -> float:
    return work.get(kind, max(work.values(), default=0.0))
