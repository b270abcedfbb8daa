"""When jobs would end if tenants shared all slots by weight at every instant: the fair clock of a whole trace.

The same as `packing.fair_clock.advance` from arrival to arrival, for traces of a million jobs: nothing here looks at
all jobs that wait when one comes or ends.
"""

import heapq
from dataclasses import dataclass, field

from lorax_batch_scheduler.packing.fair_clock import AGEING_S, VirtualJob

Rank = tuple[int, float, float, str]
"""Of the jobs of a tenant the least goes first."""


@dataclass(slots=True)
class _Waiting:
    """A job that has not ended."""

    job: VirtualJob
    left_s: float
    aged: int = 0
    """What its priority has risen by."""

    @property
    def rank(self) -> Rank:
        return -self.job.priority - self.aged, self.left_s, self.job.arrival, self.job.job_id


@dataclass(slots=True)
class _Queue:
    """The jobs of a tenant; the first one runs."""

    tenant: str
    weight: float
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    ranks: list[Rank] = field(default_factory=list)
    """A heap; ranks that their jobs no longer have are void."""
    end_level: float = 0.0
    """The level at which the first job ends."""
    version: int = 0
    """Of `end_level`."""

    def first(self) -> _Waiting | None:
        while self.ranks:
            found = self.waiting.get(self.ranks[0][3])
            if found is not None and found.rank == self.ranks[0]:
                return found
            heapq.heappop(self.ranks)
        return None

    def put(self, waiting: _Waiting) -> None:
        self.waiting[waiting.job.job_id] = waiting
        heapq.heappush(self.ranks, waiting.rank)


class FairSharing:
    """Slots that tenants share. The level is the slot-seconds that a tenant of weight 1 got which always had jobs."""

    def __init__(self, *, capacity: float, weights: dict[str, float], ageing_s: float = AGEING_S) -> None:
        """`capacity` is in slot-seconds a second; tenants without a weight have 1."""
        self.ended: dict[str, float] = {}
        """When jobs ended, by id."""
        self._capacity = capacity
        self._weights = weights
        self._ageing_s = ageing_s
        self._now = self._level = 0.0
        self._active, self._active_count = 0.0, 0
        """The weight of the tenants with jobs, and their number."""
        self._queues: dict[str, _Queue] = {}
        self._ends: list[tuple[float, str, int]] = []
        """A heap of the levels at which first jobs end, with the tenant and the version."""
        self._birthdays: list[tuple[float, int, str, str]] = []
        """A heap of when priorities rise: to which age, of which tenant's job."""

    def come(self, job: VirtualJob) -> None:
        """Take in a job now."""
        queue = self._queues.get(job.tenant)
        if queue is None:
            queue = self._queues[job.tenant] = _Queue(job.tenant, self._weights.get(job.tenant, 1.0))
        if queue.waiting:
            self._settle(queue)
        else:
            self._active_count += 1
            self._active += queue.weight
        queue.put(_Waiting(job, job.left_s))
        heapq.heappush(self._birthdays, (job.arrival + self._ageing_s, 1, job.tenant, job.job_id))
        self._begin_first(queue)

    def run(self, until: float) -> None:
        """Let time pass; priorities rise at its end, as they do when something comes."""
        while self._ends:
            level, tenant, version = self._ends[0]
            queue = self._queues[tenant]
            if version != queue.version:
                heapq.heappop(self._ends)
                continue
            time = self._now + (level - self._level) * self._active / self._capacity
            if time > until:
                break
            heapq.heappop(self._ends)
            self._now, self._level = time, level
            self._end_first(queue)
        if self._active and until > self._now:
            self._level += (until - self._now) * self._capacity / self._active
        self._now = until
        self._age()

    def _end_first(self, queue: _Queue) -> None:
        first = queue.first()
        assert first is not None
        self.ended[first.job.job_id] = self._now
        del queue.waiting[first.job.job_id]
        if queue.waiting:
            self._begin_first(queue)
        else:
            self._active_count -= 1
            self._active = self._active - queue.weight if self._active_count else 0.0  # exactly, whatever was rounded

    def _begin_first(self, queue: _Queue) -> None:
        first = queue.first()
        assert first is not None
        queue.end_level = self._level + first.left_s / queue.weight
        queue.version += 1
        heapq.heappush(self._ends, (queue.end_level, queue.tenant, queue.version))

    def _settle(self, queue: _Queue) -> None:
        """Take note of what is left of a first job that may not stay the first."""
        first = queue.first()
        assert first is not None
        first.left_s = max((queue.end_level - self._level) * queue.weight, 0.0)
        queue.put(first)

    def _age(self) -> None:
        while self._birthdays and self._birthdays[0][0] <= self._now:
            _, age, tenant, job_id = heapq.heappop(self._birthdays)
            queue = self._queues[tenant]
            waiting = queue.waiting.get(job_id)
            if waiting is None:
                continue
            self._settle(queue)
            waiting.aged = max(age, int((self._now - waiting.job.arrival) / self._ageing_s))
            queue.put(waiting)
            self._begin_first(queue)
            next_age = waiting.aged + 1
            birthday = waiting.job.arrival + next_age * self._ageing_s
            heapq.heappush(self._birthdays, (birthday, next_age, tenant, job_id))
