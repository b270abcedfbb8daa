"""Gives the rows of jobs to servers: in the order of the plan, grouped by adapter, as many as a window holds."""

from collections.abc import Mapping, Sequence
from typing import Final

from lorax_batch_scheduler.packing import HostedState, ServeJobs
from lorax_batch_scheduler.replay.hosted import Hosted
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.policy import Policy
from lorax_batch_scheduler.replay.virtual_server import VirtualServer

WINDOW: Final = 1.3
"""Rows in flight may reserve so many times the KV tokens of a server."""
BITE_ROWS: Final = 32
FRESH_SHARE: Final = 0.75
"""Only the first job opens adapters on the rest of a server's adapter slots: others' would keep them for ever."""
STEAL_ROWS: Final = 8
"""A server with fewer rows takes some that wait on another."""


class Feeding:
    """Fills servers from the pools of their families' jobs."""

    def __init__(self, policy: Policy, hosted: Mapping[str, Hosted], unfinished: Mapping[str, JobRun]) -> None:
        """`hosted` and `unfinished` are looked at each time, and change meanwhile."""
        self._policy = policy
        self._hosted = hosted
        self._unfinished = unfinished
        self._orders: dict[str, tuple[str, ...]] = {}
        """Family -> its jobs, in the order in which they are served."""
        self._begins: dict[str, int] = {}
        """Family -> the place of the first of them with rows that no server has; those before need no look."""
        self._windows: dict[str, float] = {}
        """Family -> the part of its window that each server fills."""

    def obey(self, order: ServeJobs) -> None:
        """Serve the jobs of a family in that order from now on."""
        self._orders[order.family_id] = order.job_ids
        self._windows[order.family_id] = order.window
        self._begins[order.family_id] = 0

    def rows_are_back(self) -> None:
        """Jobs have rows again that servers had."""
        self._begins.clear()

    def feed(self, hosted: Hosted, now: float) -> None:
        """Fill the window of a server that is ready."""
        engine = hosted.engine
        if engine is None or hosted.state is not HostedState.READY or self._is_full(hosted, engine):
            return
        elsewhere = self._elsewhere(hosted)
        full = self._fill(hosted, engine, elsewhere, now, force=False)
        if not full and engine.row_count < hosted.model.max_rows // 4:
            full = self._fill(hosted, engine, elsewhere, now, force=True)
        if not full and engine.row_count < STEAL_ROWS:
            self._steal(hosted, engine, now)

    def _fill(self, hosted: Hosted, engine: VirtualServer, elsewhere: set[str], now: float, *, force: bool) -> bool:
        """Push rows until the window is full; return whether it is."""
        here = {"", *engine.adapters, *engine.loaded}
        room = hosted.model.adapter_slots
        order = self._orders.get(hosted.family, ())
        for place in range(self._begin(hosted.family, order), len(order)):
            job_id = order[place]
            run = self._unfinished.get(job_id)
            if run is None or not run.waiting_rows:
                continue
            if not self._policy.may_serve(hosted.server_id, hosted.slot.id, job_id):
                continue
            while run.waiting_rows:
                if self._is_full(hosted, engine):
                    return True
                fresh = force or engine.adapter_count < room
                rows = run.take(BITE_ROWS, here, elsewhere if fresh else None, force=force)
                if not rows:
                    break
                if run.start is None:
                    run.start = now
                here.add(rows[0].adapter)
                engine.push(rows, now)
            room = max(int(FRESH_SHARE * hosted.model.adapter_slots), 1)
        return False

    def _begin(self, family: str, order: Sequence[str]) -> int:
        begin = self._begins.get(family, 0)
        while begin < len(order) and ((run := self._unfinished.get(order[begin])) is None or not run.waiting_rows):
            begin += 1
        self._begins[family] = begin
        return begin

    def _elsewhere(self, hosted: Hosted) -> set[str]:
        found: set[str] = set()
        for other in self._hosted.values():
            if other is not hosted and other.family == hosted.family and other.engine is not None:
                found.update(other.engine.adapters)
                found.update(other.engine.loaded)
        return found

    def _steal(self, hosted: Hosted, engine: VirtualServer, now: float) -> None:
        """Take half of the rows that wait on the fullest other server of the family, those that may come here."""
        others = [
            (-other.engine.row_count, other.server_id, other.engine)
            for other in self._hosted.values()
            if other.family == hosted.family and other.engine is not None and other is not hosted
        ]
        if not self._policy.shares:
            return
        for _, _, other in sorted(others, key=lambda each: each[:2]):
            rows = other.take_waiting(other.waiting_count // 2)
            if rows:
                engine.push(rows, now)
                return

    def _is_full(self, hosted: Hosted, engine: VirtualServer) -> bool:
        part = self._windows.get(hosted.family, 1.0)
        full = engine.reserved_tokens >= part * WINDOW * hosted.model.kv_tokens
        return full or engine.row_count >= part * hosted.model.max_rows
