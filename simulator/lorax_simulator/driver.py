"""Ties an engine to an event loop: wakes it when something is due and hands on what happened."""

import asyncio
from collections.abc import Callable

from lorax_simulator.engine import Engine
from lorax_simulator.outcomes import Outcome
from lorax_simulator.row import Row

_SHORTEST_WAIT = 0.001  # uvloop's timers count whole milliseconds: less would spin


class Driver:
    """Runs model time at `scale` real seconds a model second; at 0 everything happens at once."""

    def __init__(
        self, *, engine: Engine, scale: float, loop: asyncio.AbstractEventLoop, deliver: Callable[[Outcome], None]
    ) -> None:
        self._engine = engine
        self._scale = scale
        self._loop = loop
        self._deliver = deliver
        self._started_at = loop.time()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # loop time of the timer
        self._stopped = False

    def now(self) -> float:
        """Return the model time."""
        if not self._scale:
            return self._engine.now
        return (self._loop.time() - self._started_at) / self._scale

    def submit(self, row: Row) -> None:
        """Queue a row."""
        self._engine.advance(self.now())
        self._engine.submit(row)
        self._arm()

    def drop(self, row: Row) -> None:
        """Tell the engine that a row's connection closed."""
        self._engine.advance(self.now())
        self._engine.drop(row)
        self._arm()

    def check_health(self, ticket: int) -> None:
        """Ask the shard for a sign of life."""
        self._engine.advance(self.now())
        self._engine.check_health(ticket)
        self._arm()

    def nudge(self) -> None:
        """Look again for what can be done, after the faults changed."""
        self._engine.advance(self.now())
        self._engine.nudge()
        self._arm()

    def stop(self) -> None:
        """Deliver nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        # Outcomes are delivered from the loop only, never from inside a call: no caller is re-entered.
        due = 0.0
        if not self._engine.has_outcomes:
            wakeup = self._engine.next_wakeup()
            if wakeup is None:
                return
            due = self._started_at + wakeup * self._scale if self._scale else 0.0
        if self._stopped or (self._timer is not None and self._due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        if due:
            delay = max(_SHORTEST_WAIT, due - self._loop.time())
            self._timer = self._loop.call_later(delay, self._pump)
        else:
            self._timer = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._timer = None
        wakeup = self._engine.next_wakeup() if not self._scale else None
        self._engine.advance(self.now() if wakeup is None else wakeup)
        for outcome in self._engine.take_outcomes():
            if self._stopped:
                return
            self._deliver(outcome)
        self._arm()
