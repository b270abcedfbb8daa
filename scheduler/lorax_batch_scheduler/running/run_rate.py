"""How fast a server answers, as callers see it."""

import statistics
from collections import deque

from lorax_batch_scheduler.rate import Rate

LATENCIES = 64


class RunRate:
    """Rows and tokens a second, smoothed, and the median latency of the last rows."""

    def __init__(self, now: float) -> None:
        self.rows = 0
        """Rows answered since the last update; counted up from outside, once a row."""
        self.tokens = 0
        self.rows_per_second = 0.0
        self.tokens_per_second = 0.0
        self._row_rate = Rate(now)
        self._token_rate = Rate(now)
        self._latencies: deque[float] = deque(maxlen=LATENCIES)

    @property
    def latency_s(self) -> float | None:
        """The median of the last rows, or of a sample of them; None before the first."""
        return statistics.median(self._latencies) if self._latencies else None

    def answered_after(self, seconds: float) -> None:
        """Take note of how long a row took."""
        self._latencies.append(seconds)

    def update(self, now: float) -> None:
        """Bring the rates up to date; to be called a few times a second."""
        self._row_rate.add(self.rows, now)
        self._token_rate.add(self.tokens, now)
        self.rows = self.tokens = 0
        self.rows_per_second = self._row_rate.per_second(now)
        self.tokens_per_second = self._token_rate.per_second(now)
