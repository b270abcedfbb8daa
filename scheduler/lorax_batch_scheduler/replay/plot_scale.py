"""The time axis of a picture."""

import itertools
from dataclasses import dataclass
from typing import Final

STEPS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
MOST_TICKS: Final = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeScale:
    """Where a moment stands on the picture."""

    left: float
    width: float
    span_s: float

    def x(self, seconds: float) -> float:
        """Return the place of a moment; what is out of the picture stands at its border."""
        return self.left + self.width * min(max(seconds / self.span_s, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the moments to mark, and how to write them."""
        days = (86_400 * 2**power for power in itertools.count(1))
        step = next(step for step in itertools.chain(STEPS_S, days) if self.span_s / step <= MOST_TICKS)
        return [(step * number, moment(step * number)) for number in range(int(self.span_s / step) + 1)]


def moment(seconds: float) -> str:
    """Return a time since the beginning as people read it."""
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{whole % 60:02}"
