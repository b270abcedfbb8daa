"""How fast something goes, over about the last minute."""

import math
from typing import Final

WINDOW_S: Final = 30.0
"""The time constant: what happened two of them ago counts an eighth."""


class Rate:
    """An exponentially weighted rate of events per second."""

    def __init__(self, now: float) -> None:
        self._weight = 0.0
        self._amount = 0.0
        self._at = now

    def add(self, amount: float, now: float) -> None:
        """Count something that happened now (monotonic seconds)."""
        self._decay(now)
        self._amount += amount

    def per_second(self, now: float) -> float:
        """Return the rate; 0 before anything can be said."""
        self._decay(now)
        return self._amount / self._weight if self._weight > 0.2 else 0.0

    def _decay(self, now: float) -> None:
        passed = max(now - self._at, 0.0)
        kept = math.exp(-passed / WINDOW_S)
        # `weight` is the integral of the same decay over the time seen: unbiased from the first second on.
        self._weight = self._weight * kept + WINDOW_S * (1 - kept)
        self._amount *= kept
        self._at = now
