"""The GPU process: one event loop without threads, so one lock for all that it does."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Operation:
    """One call to the shard; `done` runs at its end with the model time."""

    kind: str
    seconds: float
    done: Callable[[float], None]
    ends_at: float = 0.0


class Shard:
    """Runs operations one at a time, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.current: Operation | None = None
        self.waiting: deque[Operation] = deque()

    def ask(self, operation: Operation, now: float) -> None:
        """Start the operation now, or when those before it have ended."""
        if self.current is None:
            self._start(operation, now)
        else:
            self.waiting.append(operation)

    def finish_until(self, now: float) -> float | None:
        """End the current operation if its time has come by `now`; return when it ended, or None."""
        operation = self.current
        if operation is None or operation.ends_at > now:
            return None
        ended_at = operation.ends_at
        self.current = None
        if self.waiting:
            self._start(self.waiting.popleft(), ended_at)
        operation.done(ended_at)
        return ended_at

    def _start(self, operation: Operation, now: float) -> None:
        operation.ends_at = now + operation.seconds
        self.current = operation
