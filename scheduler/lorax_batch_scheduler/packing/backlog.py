"""A family's work in the order in which it is served, and how urgent each part of it is."""

from bisect import bisect_right
from collections.abc import Iterable


class Backlog:
    """Answers how urgent the work between two marks is; marks are slot-seconds of the average slot."""

    def __init__(self, jobs: Iterable[tuple[float, float]]) -> None:
        """`jobs`: work and urgency of each, first served first."""
        self._ends = [0.0]
        self._weights = [0.0]
        for work_s, urgency in jobs:
            self._ends.append(self._ends[-1] + work_s)
            self._weights.append(self._weights[-1] + work_s * urgency)

    @property
    def work_s(self) -> float:
        """All of it."""
        return self._ends[-1]

    def strength(self, setup_s: float) -> float:
        """Return the best, over the first jobs, of sum(work x urgency) / (set-up + sum(work))."""
        pairs = zip(self._weights, self._ends, strict=True)
        return max((weight / (setup_s + end) for weight, end in pairs if end > 0), default=0.0)

    def between(self, begin: float, end: float) -> float:
        """Return the mean urgency of the work between two marks; 0 when there is none."""
        end = min(end, self.work_s)
        if end <= begin:
            return 0.0
        return (self._weight(end) - self._weight(begin)) / (end - begin)

    def _weight(self, mark: float) -> float:
        index = bisect_right(self._ends, mark) - 1
        if index >= len(self._ends) - 1:
            return self._weights[-1]
        begin, end = self._ends[index], self._ends[index + 1]
        part = (mark - begin) / (end - begin)
        return self._weights[index] + part * (self._weights[index + 1] - self._weights[index])
