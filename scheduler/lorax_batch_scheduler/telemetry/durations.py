"""How long something took, counted in buckets."""

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds; a duration counts in the first bucket that it does not exceed, or behind the last."""


class Durations:
    """Counts durations. One thread adds, any may read: a reader sees a count that is at most one behind."""

    __slots__ = ("_counts", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Return (upper bound in seconds, how many were at most so long), the last bound being "+Inf"."""
        total, found = 0, []
        for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], list(self._counts), strict=True):
            total += count
            found.append((bound, total))
        return found
