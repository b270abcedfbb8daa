"""Which row a server gets next. Pure: it decides, the runner sends.

An adapter's rows stay together, adapters and chunks come in the order given. A cold adapter gets one row, its canary,
which makes the server load it; one canary at a time, because a server loads one adapter at a time and stops generating
meanwhile. The next adapter is warmed when the rows before it run low, not earlier: a server drops an idle adapter as
soon as another one is wanted.

A row that fails takes all with it that are in flight. Those that were there too often are suspects: they are sent apart
from the others, and with ever fewer of their like, until the one at fault is alone.
"""

import heapq
from collections import deque
from collections.abc import Callable

from lorax_batch_scheduler.running.queued_work import AdapterRows, Flight, QueuedWork
from lorax_batch_scheduler.work import ChunkWork

MAX_ACTIVE_ADAPTERS = 4
"""More of them at a time only drive each other out of the server's memory."""
TURN_ROWS = 4_000
"""After so many rows of one adapter another one has its turn, if there is any."""
SCHEMAS_TRIED = 32
"""So many JSON schemas that compiled show that the next will: rows then no longer have to stop all others."""


class RowQueue:
    """The rows given to one server that are not in flight."""

    def __init__(self, *, schemas_alone: bool) -> None:
        self.schemas_alone = schemas_alone
        """Whether a schema that does not compile harms other rows on this server."""
        self._adapters: dict[str, AdapterRows] = {}
        """Those with rows here or in flight; the order is that of their turns."""
        self._loaded: dict[str, None] = {}
        self._current: AdapterRows | None = None
        self._canary: AdapterRows | None = None
        self._apart: dict[int, deque[tuple[QueuedWork, int]]] = {}
        """Suspects, by how many of them may be in flight together."""
        self._apart_out = 0
        self._retries: list[tuple[float, int, QueuedWork, int]] = []
        self._retry_count = 0
        self._schemas: set[int] = set()
        self._look_for_canary = True
        self.works: set[QueuedWork] = set()
        self.unproved = False
        """Whether the server says that it is well again, but has not answered a row since. Rows that have never failed
        go first then, so that it shows whether the others or the server were to blame."""
        self.size = 0
        """Rows given and not in flight."""
        self.loads = 0
        """How often an adapter was loaded for its first row."""
        self.warm_ahead = 0
        """The next adapter is warmed when at most so many rows stand before it."""

    @property
    def warm_adapters(self) -> list[str]:
        """The adapters that the server has loaded, as far as can be told."""
        return list(self._loaded)

    @property
    def warming(self) -> bool:
        """Whether an adapter is being loaded for a canary."""
        return self._canary is not None

    def adapter(self, name: str) -> AdapterRows:
        """Return the rows of an adapter, none at first."""
        rows = self._adapters.get(name)
        if rows is None:
            rows = self._adapters[name] = AdapterRows(name, warm=not name or name in self._loaded)
        return rows

    def add(self, queued: QueuedWork) -> None:
        """Take a chunk in, behind those of the same adapter."""
        self.works.add(queued)
        queued.adapter.works.append(queued)
        self.size += len(queued.rows)
        self._look_for_canary = True

    def take(self, now: float, in_flight: int) -> Flight | None:
        """Take the next row, if one may be sent while so many are in flight."""
        if self.unproved and not self._apart_out:
            fresh = self._take_fresh(now)
            if fresh is not None:
                return fresh
        while True:
            if self._apart or self._apart_out:
                return self._take_apart(in_flight)
            if self._look_for_canary:
                canary = self._take_canary(now)
                if canary is not None:
                    return canary
            adapter = self._current
            picked = adapter.pop() if adapter is not None else None
            if picked is None or adapter is None:
                self._current = self._next_adapter()
                if self._current is None:
                    canary = self._take_canary(now)
                    if canary is not None or not self._apart:
                        return canary
            else:
                if adapter.sent_in_turn >= TURN_ROWS:
                    self._end_turn(adapter)
                if not self._set_aside(*picked):
                    return self._fly(picked[0], picked[1], adapter)

    def ended(self, flight: Flight) -> None:
        """A row is no longer in flight; what becomes of it is told separately."""
        adapter = flight.queued.adapter
        adapter.in_flight -= 1
        if flight.company:
            self._apart_out -= 1
        if flight.canary and self._canary is adapter:
            self._canary = None
            self._look_for_canary = True
        if not adapter.in_flight and not adapter.has_rows():
            self._forget_idle(adapter)

    def succeeded(self, flight: Flight) -> None:
        """A row that was a canary, or the first of its schema, has shown that both work."""
        self.unproved = False
        if flight.canary:
            adapter = flight.queued.adapter
            adapter.warm, adapter.deferrals, adapter.failed_alone = True, 0, 0
            self._loaded[adapter.name] = None
            self.loads += 1
            self._current = None
        if flight.queued.constrained and len(self._schemas) < SCHEMAS_TRIED:
            self._schemas.add(flight.queued.work.chunk.schemas[flight.row])

    def distrust_schemas(self) -> None:
        """A schema did not compile: try every new one alone again."""
        self._schemas.clear()

    def retry(self, queued: QueuedWork, row: int, at: float) -> None:
        """Take a row back, to be sent at that time at the earliest."""
        self._retry_count += 1
        queued.held += 1
        self.size += 1
        heapq.heappush(self._retries, (at, self._retry_count, queued, row))

    def release_due(self, now: float) -> None:
        """Let go the rows whose time has come, and look whether an adapter should be warmed."""
        while self._retries and self._retries[0][0] <= now:
            _, _, queued, row = heapq.heappop(self._retries)
            trouble = queued.work.trouble.get(row)
            if trouble is not None and trouble.company:
                self._apart.setdefault(trouble.company, deque()).append((queued, row))
            else:
                self._adapters.setdefault(queued.adapter.name, queued.adapter).due.append((queued, row))
        self._look_for_canary = True

    def cool(self) -> None:
        """Forget what the server had loaded and compiled: it is a new process."""
        self._loaded.clear()
        self._schemas.clear()
        self._current = None
        for adapter in self._adapters.values():
            adapter.warm = not adapter.name

    def withdraw(self, matches: Callable[[QueuedWork], bool]) -> list[QueuedWork]:
        """Take chunks out; all their rows that are not in flight are in `work.waiting` again."""
        taken = [queued for queued in self.works if matches(queued)]
        if not taken:
            return []
        out = set(taken)
        kept = []
        for entry in self._retries:
            if entry[2] in out:
                _put_back(entry[2], entry[3])
            else:
                kept.append(entry)
        self._retries = kept
        heapq.heapify(self._retries)
        apart = {company: _without(rows, out) for company, rows in self._apart.items()}
        self._apart = {company: rows for company, rows in apart.items() if rows}
        for adapter in list(self._adapters.values()):
            adapter.due = _without(adapter.due, out)
            adapter.works = deque(queued for queued in adapter.works if queued not in out)
        self.works -= out
        self.size -= sum(len(queued.rows) for queued in taken)
        self._current = None
        return taken

    def take_out(self, work: ChunkWork, count: int) -> list[int]:
        """Take so many rows out of a chunk that were never sent, the last ones; one at least stays."""
        queued = next((queued for queued in self.works if queued.work is work), None)
        rows: list[int] = []
        while queued is not None and len(rows) < count and len(queued.rows) > 1 and queued.rows[-1] not in work.trouble:
            rows.append(queued.rows.pop())
        self.size -= len(rows)
        return rows[::-1]

    def done(self, queued: QueuedWork) -> None:
        """Forget a chunk of which nothing is left to do here."""
        self.works.discard(queued)
        if not queued.adapter.in_flight and not queued.adapter.has_rows():
            self._forget_idle(queued.adapter)

    def retrying(self, job_id: str) -> int:
        """Return how many rows of a job wait to be sent again."""
        return sum(queued.held for queued in self.works if queued.work.job_id == job_id)

    # --- inside --------------------------------------------------------------------------------------------------

    def _fly(self, queued: QueuedWork, row: int, adapter: AdapterRows, *, company: int = 0) -> Flight:
        canary = not adapter.warm
        if canary:
            self._canary = adapter
            self._drop_idle_adapters()
        adapter.in_flight += 1
        self.size -= 1
        self._apart_out += bool(company)
        return Flight(queued, row, canary=canary, company=company)

    def _take_fresh(self, now: float) -> Flight | None:
        for adapter in self._adapters.values():
            may_fly = adapter.warm or (self._canary is None and adapter.not_before <= now)
            picked = adapter.pop_fresh() if may_fly else None
            if picked is not None and not self._set_aside(*picked):
                return self._fly(picked[0], picked[1], adapter)
        return None

    def _take_apart(self, in_flight: int) -> Flight | None:
        company = max(self._apart, default=0)  # the largest first: it clears most rows in the least time
        if in_flight > self._apart_out or self._apart_out >= company:
            return None
        rows = self._apart[company]
        if self._canary is not None and not rows[0][0].adapter.warm:
            return None
        queued, row = rows.popleft()
        if not rows:
            del self._apart[company]
        queued.held -= 1
        adapter = self._adapters.setdefault(queued.adapter.name, queued.adapter)
        return self._fly(queued, row, adapter, company=company)

    def _take_canary(self, now: float) -> Flight | None:
        self._look_for_canary = False
        if self._canary is not None:
            return None
        before = active = 0
        for adapter in self._adapters.values():
            active += bool(adapter.name and (adapter.in_flight or (adapter.warm and adapter.has_rows())))
        for adapter in self._adapters.values():
            if adapter.warm:
                before += adapter.count()
            elif adapter.has_rows() and adapter.not_before <= now:
                if before > self.warm_ahead or active >= MAX_ACTIVE_ADAPTERS:
                    return None
                picked = adapter.pop()
                if picked is not None and not self._set_aside(*picked):
                    return self._fly(picked[0], picked[1], adapter)
                return None
        return None

    def _next_adapter(self) -> AdapterRows | None:
        self._look_for_canary = True
        for adapter in self._adapters.values():
            if adapter.warm and adapter.has_rows():
                return adapter
        return None

    def _end_turn(self, adapter: AdapterRows) -> None:
        adapter.sent_in_turn = 0
        self._adapters[adapter.name] = self._adapters.pop(adapter.name)
        self._current = None

    def _set_aside(self, queued: QueuedWork, row: int) -> bool:
        """Hold a row back that must go alone: its schema is new to the server."""
        if not queued.constrained or not self.schemas_alone or len(self._schemas) >= SCHEMAS_TRIED:
            return False
        schema = queued.work.chunk.schemas[row]
        if not schema or schema in self._schemas:
            return False
        queued.held += 1
        self._apart.setdefault(1, deque()).append((queued, row))
        return True

    def _drop_idle_adapters(self) -> None:
        for name in list(self._loaded):
            adapter = self._adapters.get(name)
            if adapter is None or not (adapter.in_flight or adapter.has_rows()):
                self._loaded.pop(name)
                if adapter is not None:
                    adapter.warm = False

    def _forget_idle(self, adapter: AdapterRows) -> None:
        if adapter is self._adapters.get(adapter.name) and not any(q.adapter is adapter for q in self.works):
            del self._adapters[adapter.name]
            if adapter is self._current:
                self._current = None


def _put_back(queued: QueuedWork, row: int) -> None:
    queued.held -= 1
    queued.rows.append(row)


def _without(rows: deque[tuple[QueuedWork, int]], out: set[QueuedWork]) -> deque[tuple[QueuedWork, int]]:
    kept: deque[tuple[QueuedWork, int]] = deque()
    for queued, row in rows:
        if queued in out:
            _put_back(queued, row)
        else:
            kept.append((queued, row))
    return kept
