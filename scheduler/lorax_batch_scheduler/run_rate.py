"""How fast a server answers, as callers see it."""

import math
import statistics
from collections import deque

SMOOTHING_S = 10.0
INTERVAL_S = 1.0
LATENCIES = 64


class RunRate:
    """Rows and tokens a second, smoothed, and the median latency of the last rows."""

    def __init__(self) -> None:
        self.rows_per_second = 0.0
        self.tokens_per_second = 0.0
        self.rows = 0
        """Rows answered since the last update; counted up from outside, once a row."""
        self.tokens = 0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._time: float | None = None

    @property
    def latency_s(self) -> float | None:
        """The median of the last rows, or of a sample of them; None before the first."""
        return statistics.median(self._latencies) if self._latencies else None

    def answered_after(self, seconds: float) -> None:
        """Take note of how long a row took."""
        self._latencies.append(seconds)

    def update(self, now: float) -> None:
        """Bring the rates up to date, about once a second; may be called as often as wanted."""
        if self._time is not None:
            elapsed = now - self._time
            if elapsed < INTERVAL_S:
                return
            weight = 1 - math.exp(-elapsed / SMOOTHING_S)
            self.rows_per_second += weight * (self.rows / elapsed - self.rows_per_second)
            self.tokens_per_second += weight * (self.tokens / elapsed - self.tokens_per_second)
        self._time = now
        self.rows = self.tokens = 0
