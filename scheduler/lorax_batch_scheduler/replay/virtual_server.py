"""A LoRAX server in virtual time: continuous batching, KV reservations, prefill stalls, adapter loads that stop it."""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from lorax_batch_scheduler.replay.server_model import (
    ADAPTER_COPY_S,
    ADAPTER_DOWNLOAD_S,
    ADAPTER_LOAD_S,
    ADAPTER_OFFLOAD_S,
    ServerModel,
)

WAITING_STEPS: Final = 20
"""After so many decode steps waiting rows are let in: LoRAX's max_waiting_tokens."""
SERVED_RATIO: Final = 1.2
"""Before that, when so many more wait than run: LoRAX's waiting_served_ratio."""
BLOCKED_ROWS_PASSED: Final = 256
"""So many rows of adapters that find no room are passed over in search of others."""


class VirtualRow(NamedTuple):
    """A row as servers see it."""

    job: int
    adapter: str
    prompt_tokens: int
    output_tokens: int
    reserved_tokens: int


@dataclass(slots=True)
class ServerCounts:
    """What a server has done in its life."""

    adapter_loads: int = 0
    busy_s: float = 0.0
    tokens: int = 0


class VirtualServer:
    """One life of a server, from ready to gone. The caller moves the clock; times are seconds of the trace."""

    def __init__(self, model: ServerModel, *, speed: float, downloaded: set[tuple[str, str]], family: str) -> None:
        """`downloaded`: (family, adapter) whose files the node has; grows."""
        self.model = model
        self.counts = ServerCounts()
        self.reserved_tokens = 0
        """Of all rows that it has, running or not."""
        self.sharing = 1
        """Servers at work on the GPU, this one included: each is so many times slower."""
        self._slowness = 1 / speed
        self._downloaded = downloaded
        self._family = family
        self._waiting: deque[VirtualRow] = deque()
        self._finishing: list[tuple[int, int, VirtualRow]] = []
        self._number = 0
        self._step = 0
        self._since_prefill = 0
        self._running_tokens = 0
        self._rows_with_adapter = 0
        self._loaded: OrderedDict[str, int] = OrderedDict()  # adapter -> running rows, least recently used first
        self._rows_of: dict[str, int] = {}
        self._batch: list[VirtualRow] = []
        self._leap = 0
        self._step_s = 0.0
        self._began = 0.0
        self._ends: float | None = None

    @property
    def row_count(self) -> int:
        """All rows that it has."""
        return len(self._waiting) + len(self._finishing) + len(self._batch)

    @property
    def waiting_count(self) -> int:
        """The rows that do not run yet."""
        return len(self._waiting)

    @property
    def adapters(self) -> Iterable[str]:
        """The adapters of its rows."""
        return self._rows_of.keys()

    @property
    def adapter_count(self) -> int:
        """The number of those, the base model not counted."""
        return len(self._rows_of) - ("" in self._rows_of)

    @property
    def loaded(self) -> Iterable[str]:
        """The adapters on its GPU."""
        return self._loaded.keys()

    @property
    def ends(self) -> float | None:
        """When it needs `advance` next; None while it has nothing to do."""
        return self._ends

    def push(self, rows: Iterable[VirtualRow], now: float) -> None:
        """Send it rows."""
        for row in rows:
            self._waiting.append(row)
            self.reserved_tokens += row.reserved_tokens
            self._rows_of[row.adapter] = self._rows_of.get(row.adapter, 0) + 1
        if self._ends is None:
            self._begin(now)
        elif self._leap > 1:
            self._cut_leap(now)

    def share(self, servers: int, now: float) -> None:
        """So many servers work on its GPU from now on: the rest of what is under way takes so much more or less."""
        if self._ends is not None:
            factor = servers / self.sharing
            self._ends = now + (self._ends - now) * factor
            self._began, self._step_s = now - (now - self._began) * factor, self._step_s * factor
        self.sharing = servers

    def take_waiting(self, count: int) -> list[VirtualRow]:
        """Take back rows that do not run yet, the last first."""
        taken = [self._waiting.pop() for _ in range(min(count, len(self._waiting)))]
        for row in taken:
            self._forget(row)
        return taken

    def all_rows(self) -> list[VirtualRow]:
        """Return all rows: they are lost when the server is."""
        return [*self._waiting, *self._batch, *(row for _, _, row in self._finishing)]

    def advance(self, now: float) -> list[VirtualRow]:
        """End what is under way at `now` and begin the next; return the rows that are finished."""
        assert self._ends is not None
        self.counts.busy_s += now - self._began
        if self._batch:
            self._join()
        else:
            self._step += self._leap
            self._since_prefill += self._leap
        finished = []
        while self._finishing and self._finishing[0][0] <= self._step:
            row = heapq.heappop(self._finishing)[2]
            self._leave(row)
            finished.append(row)
        self._begin(now)
        return finished

    def _join(self) -> None:
        for row in self._batch:
            self._number += 1
            heapq.heappush(self._finishing, (self._step + row.output_tokens - 1, self._number, row))
        self._batch = []
        self._since_prefill = 1

    def _begin(self, now: float) -> None:
        self._began, self._ends, self._leap = now, None, 0
        running = len(self._finishing)
        slowness = self._slowness * self.sharing
        if self._waiting and (running == 0 or self._may_admit(running)):
            batch, loading_s = self._assemble()
            if batch:
                self._batch = batch
                prefill_s = self.model.prefill_s(sum(row.prompt_tokens for row in batch))
                self._ends = now + loading_s + prefill_s * slowness
                return
        if running:
            self._step_s = self.model.decode_s(running, with_adapters=self._rows_with_adapter > 0) * slowness
            self._leap = max(self._finishing[0][0] - self._step, 1)
            if self._waiting:
                self._leap = max(min(self._leap, WAITING_STEPS - self._since_prefill), 1)
            self._ends = now + self._leap * self._step_s

    def _may_admit(self, running: int) -> bool:
        due = self._since_prefill >= WAITING_STEPS or self._since_prefill <= 1  # the latter: eager prefill
        return due or len(self._waiting) >= SERVED_RATIO * running

    def _cut_leap(self, now: float) -> None:
        """Rows came in the middle of a leap: look again at the next step's border."""
        done = int((now - self._began) / self._step_s) + 1
        left = max(WAITING_STEPS - self._since_prefill, done)
        self._leap = min(self._leap, left)
        self._ends = self._began + self._leap * self._step_s

    def _assemble(self) -> tuple[list[VirtualRow], float]:
        """Take waiting rows, in order, until KV blocks, permits or the prefill budget run out."""
        batch: list[VirtualRow] = []
        blocked: list[VirtualRow] = []
        prompt_tokens, loading_s = 0, 0.0
        free_rows = self.model.max_rows - len(self._finishing)
        while self._waiting and len(batch) < free_rows:
            row = self._waiting[0]
            prompt_tokens += row.prompt_tokens
            full = self._running_tokens + row.reserved_tokens > self.model.kv_tokens
            if full or (batch and prompt_tokens > self.model.prefill_tokens):
                break
            self._waiting.popleft()
            if row.adapter:
                seconds = self._load(row.adapter)
                if seconds is None:
                    prompt_tokens -= row.prompt_tokens
                    blocked.append(row)
                    if len(blocked) > BLOCKED_ROWS_PASSED:
                        break
                    continue
                loading_s += seconds
                self._loaded[row.adapter] += 1
                self._rows_with_adapter += 1
            self._running_tokens += row.reserved_tokens
            batch.append(row)
        self._waiting.extendleft(reversed(blocked))
        return batch, loading_s

    def _load(self, adapter: str) -> float | None:
        """Return the seconds until an adapter is on the GPU; None when there is no room for it now."""
        if adapter in self._loaded:
            self._loaded.move_to_end(adapter)
            return 0.0
        seconds = ADAPTER_LOAD_S
        if len(self._loaded) >= self.model.adapter_slots:
            idle = next((each for each, rows in self._loaded.items() if rows == 0), None)
            if idle is None:
                return None
            del self._loaded[idle]
            seconds += ADAPTER_OFFLOAD_S
        key = self._family, adapter
        seconds += ADAPTER_COPY_S if key in self._downloaded else ADAPTER_DOWNLOAD_S
        self._downloaded.add(key)
        self._loaded[adapter] = 0
        self.counts.adapter_loads += 1
        return seconds

    def _leave(self, row: VirtualRow) -> None:
        self._running_tokens -= row.reserved_tokens
        self.counts.tokens += row.prompt_tokens + row.output_tokens
        if row.adapter:
            self._loaded[row.adapter] -= 1
            self._rows_with_adapter -= 1
        self._forget(row)

    def _forget(self, row: VirtualRow) -> None:
        self.reserved_tokens -= row.reserved_tokens
        left = self._rows_of[row.adapter] - 1
        if left:
            self._rows_of[row.adapter] = left
        else:
            del self._rows_of[row.adapter]
