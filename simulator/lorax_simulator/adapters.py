"""Which adapters are on the GPU, which wait to be, and whose rows come next."""

import enum
from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field

from lorax_simulator.row import Row

_COST_TOLERANCE = 1e-9  # sums of costs are floats


class AdapterStatus(enum.Enum):
    """Where an adapter stands in its life on a server."""

    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    READY = "ready"
    ERRORED = "errored"


@dataclass(slots=True, eq=False)
class Adapter:
    """One adapter id with the source of its first row; `cost` is a fraction of the memory for adapters."""

    id: str
    source: str
    status: AdapterStatus = AdapterStatus.DOWNLOADING
    cost: float | None = None
    error: str | None = None
    activated_at: float = 0.0
    tracked: bool = False
    queue: deque[Row] = field(default_factory=deque)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterMoves:
    """What one scheduling tick asks of the loader, and the adapters that it gave up."""

    errored: list[Adapter]
    offload: list[Adapter]
    load: list[Adapter]


class AdapterPool:
    """Known adapters, their queues, and the two lists by which they take turns on the GPU."""

    def __init__(self, *, max_active: int, cycle_time: float) -> None:
        self.known: dict[str, Adapter] = {}
        self.pending: deque[Adapter] = deque()
        self.active: deque[Adapter] = deque()
        self.budget = 1.0
        self.waiting = 0
        self._max_active = max_active
        self._cycle_time = cycle_time

    def append(self, row: Row) -> Adapter | None:
        """Queue the row; return its adapter when that must be downloaded first."""
        adapter = self.known.get(row.adapter_id)
        unknown = adapter is None
        if adapter is None:
            adapter = self.known[row.adapter_id] = Adapter(row.adapter_id, row.adapter_source)
        if not adapter.tracked:
            adapter.tracked = True
            self.pending.append(adapter)
        adapter.queue.append(row)
        self.waiting += 1
        return adapter if unknown else None

    def push_front(self, row: Row) -> None:
        """Put back a row that `next_row` gave but that did not fit."""
        self.known[row.adapter_id].queue.appendleft(row)
        self.waiting += 1

    def next_row(self, now: float) -> Row | None:
        """Take the row that waited longest among ready adapters, newly activated adapters first."""
        best: Adapter | None = None
        best_rank: tuple[bool, float, int] | None = None
        for adapter in self.active:
            if not adapter.queue or adapter.status is not AdapterStatus.READY:
                continue
            head = adapter.queue[0]
            rank = (now - adapter.activated_at >= self._cycle_time, head.queued_at, head.id)
            if best_rank is None or rank < best_rank:
                best, best_rank = adapter, rank
        if best is None:
            return None
        self.waiting -= 1
        return best.queue.popleft()

    def drain(self, adapter: Adapter) -> list[Row]:
        """Forget the adapter and return the rows that waited for it."""
        rows = list(adapter.queue)
        adapter.queue.clear()
        self.waiting -= len(rows)
        self.known.pop(adapter.id, None)
        if adapter in self.pending:
            self.pending.remove(adapter)
        if adapter in self.active:
            self._deactivate(adapter)
        adapter.tracked = False
        return rows

    def update(self, now: float, in_use: Container[str]) -> AdapterMoves:
        """Move adapters between the lists as one scheduling tick does; `in_use` holds the ids of running rows."""
        errored = [adapter for adapter in self.known.values() if adapter.status is AdapterStatus.ERRORED]
        for adapter in errored:
            if adapter in self.pending:
                self.pending.remove(adapter)
        if not self.pending:
            return AdapterMoves(errored=errored, offload=[], load=[])
        offload = self._evict_idle(in_use) or self._rotate(now, in_use)
        return AdapterMoves(errored=errored, offload=offload, load=self._activate(now))

    def _evict_idle(self, in_use: Container[str]) -> list[Adapter]:
        # One for every pending adapter, oldest activation first, even when memory is free.
        idle = [adapter for adapter in self.active if not adapter.queue and adapter.id not in in_use]
        evicted = idle[: len(self.pending)]
        for adapter in evicted:
            self._deactivate(adapter)
            adapter.tracked = False
        return evicted

    def _rotate(self, now: float, in_use: Container[str]) -> list[Adapter]:
        # Nothing is idle: the longest-active one makes room once its turn is over.
        if not self.active or self._fits(self.pending[0]) or self.pending[0].cost is None:
            return []
        oldest = self.active[0]
        if now - oldest.activated_at <= self._cycle_time or oldest.id in in_use:
            return []
        self._deactivate(oldest)
        self.pending.append(oldest)
        return [oldest]

    def _activate(self, now: float) -> list[Adapter]:
        activated: list[Adapter] = []
        while self.pending and self._fits(self.pending[0]):
            adapter = self.pending.popleft()
            self.budget -= adapter.cost or 0.0
            adapter.activated_at = now
            self.active.append(adapter)
            activated.append(adapter)
        return activated

    def _fits(self, adapter: Adapter) -> bool:
        if adapter.cost is None or len(self.active) >= self._max_active:
            return False
        return adapter.cost <= self.budget + _COST_TOLERANCE

    def _deactivate(self, adapter: Adapter) -> None:
        self.active.remove(adapter)
        self.budget += adapter.cost or 0.0
        if adapter.status is AdapterStatus.READY:
            adapter.status = AdapterStatus.DOWNLOADED
