"""Noticing that a server lives but completes nothing.

LoRAX can wedge: a row that can never get the memory it needs blocks all behind it, while `/health` and `/info` answer
as ever. Closing its connection is the only way to take a row out of the server.
"""

import math

STALL_LATENCIES = 5.0
"""So many times the usual latency without a single answer is a stall."""


class Watchdog:
    """Watches the answers of one server; pure."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.last_answer = math.inf
        """When a row was last answered, or when it last made sense to expect an answer."""
        self.stalls = 0
        """Stalls since the last answer."""

    def answered(self, now: float) -> None:
        """A row was answered."""
        self.last_answer = now
        self.stalls = 0

    def rest(self, now: float) -> None:
        """Begin to count anew: nothing is in flight, or an adapter is being loaded, or what stalled was dealt with."""
        self.last_answer = now

    def stalled(self, now: float, latency_s: float | None) -> bool:
        """Tell whether an answer is long overdue; the next one is then expected from now on."""
        if now - self.last_answer <= max(self._patience_s, STALL_LATENCIES * (latency_s or 0.0)):
            return False
        self.stalls += 1
        self.last_answer = now
        return True
