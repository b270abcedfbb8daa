"""A job in a replay: its rows by adapter, and what is known of it."""

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

from lorax_batch_scheduler.replay.trace import TraceJob
from lorax_batch_scheduler.replay.virtual_server import VirtualRow

WORTH_A_LOAD: Final = 100
"""So many rows of one adapter are worth loading it on another server: a load stops that one for about 20 rows."""


class JobRun:
    """The rows of a job that no server has, and what servers have done of it."""

    def __init__(self, trace: TraceJob, number: int, rows: Iterable[VirtualRow], *, grouped: bool) -> None:
        """`grouped`: rows are given out by adapter, long ones first; else in their order."""
        self.trace = trace
        self.number = number
        self.grouped = grouped
        self._pools: dict[str, deque[VirtualRow]] = {}
        self.row_count = self.prompt_tokens = self.output_tokens = self.reserved_tokens = 0
        for row in rows:
            self._pools.setdefault(row.adapter if grouped else "", deque()).append(row)
            self.row_count += 1
            self.prompt_tokens += row.prompt_tokens
            self.output_tokens += row.output_tokens
            self.reserved_tokens += row.reserved_tokens
        if grouped:
            for adapter, pool in self._pools.items():
                self._pools[adapter] = deque(sorted(pool, key=_longest_first))
        self._by_size = sorted(self._pools, key=lambda adapter: (-len(self._pools[adapter]), adapter))
        self.with_adapters = any(row.adapter for pool in self._pools.values() for row in pool)
        self.left_rows = self.row_count
        self.left_prompt = self.prompt_tokens
        self.left_reserved = self.reserved_tokens
        self.ended_rows = 0
        self.ended_output = 0
        self.ended_allowed = 0
        """Output tokens that the ended rows were allowed."""
        self.waiting_rows = self.row_count
        """Rows that no server has."""
        self.finish: float | None = None
        self.start: float | None = None

    def take(
        self, count: int, here: Collection[str], elsewhere: Collection[str] | None, *, force: bool
    ) -> list[VirtualRow]:
        """Take rows for a server.

        Of an adapter that it has (`here`), of one that no other server of the family has, or of one with so many rows
        left that another load pays; `force`: of any. With None for `elsewhere` only of those that it has.
        """
        name = self._choose(here, elsewhere, force=force) if self.grouped else next(iter(self._pools), None)
        if name is None:
            return []
        pool = self._pools[name]
        taken = [pool.popleft() for _ in range(min(count, len(pool)))]
        if not pool:
            del self._pools[name]
        self.waiting_rows -= len(taken)
        return taken

    def give_back(self, rows: Iterable[VirtualRow]) -> None:
        """Take rows back that a server did not finish."""
        for row in rows:
            name = row.adapter if self.grouped else ""
            if name not in self._pools:
                self._pools[name] = deque()
                if name not in self._by_size:
                    self._by_size.append(name)
            self._pools[name].appendleft(row)
            self.waiting_rows += 1

    def end(self, row: VirtualRow) -> None:
        """Count a finished row."""
        self.left_rows -= 1
        self.left_prompt -= row.prompt_tokens
        self.left_reserved -= row.reserved_tokens
        self.ended_rows += 1
        self.ended_output += row.output_tokens
        self.ended_allowed += row.reserved_tokens - row.prompt_tokens

    def _choose(self, here: Collection[str], elsewhere: Collection[str] | None, *, force: bool) -> str | None:
        pools = self._pools
        if not pools:
            return None
        known = here if len(here) < len(pools) else [name for name in pools if name in here]
        found = [(len(pool), name) for name in known if (pool := pools.get(name)) is not None]
        if found:
            return max(found)[1]
        if elsewhere is None:
            return None
        while self._by_size and self._by_size[0] not in pools:
            self._by_size.pop(0)
        fresh = next((name for name in self._by_size if name in pools and name not in elsewhere), None)
        if fresh is not None:
            return fresh
        largest = max(pools, key=lambda name: (len(pools[name]), name))
        return largest if force or not largest or len(pools[largest]) >= WORTH_A_LOAD else None


def _longest_first(row: VirtualRow) -> tuple[int, int]:
    return row.prompt_tokens - row.reserved_tokens, row.prompt_tokens
