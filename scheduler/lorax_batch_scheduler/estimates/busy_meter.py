"""When a server's speed can be told from the rows that it ends: only while it is busy and in a steady state."""

from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.estimates.family_facts import FamilyFacts, Gpu
from lorax_batch_scheduler.estimates.server_speed import ServedRows, least_s

ENOUGH: Final = 0.6
"""A server is busy while so large a share of what may be in flight is."""
LEAST_S: Final = 10.0
LEAST_ROWS: Final = 20
SAME_WINDOW: Final = 0.1
"""By so much of itself a window may change within a stretch: what a row costs depends on how many are beside it."""
LONGEST_GAP_S: Final = 5.0
"""Nobody has looked at the server for so long: what it did meanwhile is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a server did in a steady stretch."""

    busy_s: float
    expected_s: float


class BusyMeter:
    """Watches one server.

    Rows that end belong to time before the meter looked, so a stretch begins only when as many rows have ended as were
    in flight when the server became busy: from then on what goes in and what comes out are alike.
    """

    def __init__(self, facts: FamilyFacts, gpu: Gpu) -> None:
        self._facts = facts
        self._gpu = gpu
        self._window_part = 1.0
        self._to_end: int | None = None
        """Rows that must still end before a stretch begins; None: it is not busy."""
        self._seen_at = 0.0
        self._busy_s = self._expected_s = 0.0
        self._rows = 0

    def ended(self, rows: ServedRows) -> None:
        """Rows of the server have ended."""
        if self._to_end is None:
            return
        if self._to_end > 0:
            self._to_end -= rows.row_count
            return
        self._expected_s += least_s(self._facts, self._gpu, rows, window_part=self._window_part)
        self._rows += rows.row_count

    def look(self, now: float, *, in_flight: int, fullness: float, window_part: float = 1.0) -> Measured | None:
        """Take note of how busy it is, a few times a second; return what a stretch has shown, if it is long enough.

        `fullness`: what is in flight of what may be; `window_part`: what may be of what the server holds.
        """
        gap, self._seen_at = now - self._seen_at, now
        busy = in_flight > 0 and fullness >= ENOUGH
        steady = abs(window_part - self._window_part) <= SAME_WINDOW * self._window_part
        if not busy or not steady or gap > LONGEST_GAP_S:
            measured = self._measured()
            self._window_part = window_part
            self._to_end = in_flight if busy else None
            self._clear()
            return measured
        if self._to_end is None:
            self._to_end = in_flight
        elif self._to_end <= 0:
            self._busy_s += gap
            if self._busy_s >= 2 * LEAST_S:
                measured = self._measured()
                if measured is not None:
                    self._clear()
                return measured
        return None

    def _measured(self) -> Measured | None:
        if self._busy_s < LEAST_S or self._rows < LEAST_ROWS:
            return None
        return Measured(busy_s=self._busy_s, expected_s=self._expected_s)

    def _clear(self) -> None:
        self._busy_s, self._expected_s, self._rows = 0.0, 0.0, 0
