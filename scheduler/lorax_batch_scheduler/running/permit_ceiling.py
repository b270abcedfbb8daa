"""How many rows a server takes before it refuses more, as its refusals tell it. Pure; time is an argument.

LoRAX answers 429 at once when its permits are taken, and says nowhere how many are left for us. So:

- a refusal cuts the ceiling to the rows that are in flight then: the server has taken exactly these;
- from then on rows are sent one at a time, as if knocking. While knocks are refused the server has come to take less
  than it holds: each halves the ceiling, and the next comes when as many rows have ended;
- when a knock is taken, the ceiling grows by one row, then two, four, ... until the server refuses again;
- then it holds for some seconds before it is tried again. A try in vain costs one refusal, and a server that takes
  1,000 rows again is full after ten tries that went well.
"""

import math
import sys
from typing import Final

NO_CEILING: Final = sys.maxsize
TAKEN_AFTER_S: Final = 0.1
"""A row that was not refused for so long is taken: a refusal comes at once."""
RECENT_S: Final = 1.0
"""A refusal so soon after the ceiling was raised means that this was too much, not that the server takes less now."""
FIRST_HOLD_S: Final = 2.0
MAX_HOLD_S: Final = 5.0
"""How long a ceiling stands before it is tried; longer after each try in vain."""
ROWS_A_TRY: Final = 16
"""So many rows are to be answered between two tries, which keeps refusals below a tenth of all answers ..."""
PATIENCE_S: Final = 30.0
"""... unless rows take so long that this comes first."""
PAUSE_S: Final = 0.05
"""Refusals come in bursts: no knock before a burst is over."""
FIRST_KNOCK_S: Final = 0.25
MAX_KNOCK_S: Final = 5.0
"""How often a server is asked that takes nothing at all."""


class PermitCeiling:
    """The ceiling of one server."""

    def __init__(self) -> None:
        self.rows = NO_CEILING
        """What the server takes, as far as is known."""
        self.open = NO_CEILING
        """Rows that may be in flight right now: as many, but none are added between two knocks."""
        self._cut_at = -math.inf
        self._answered = 0
        """Rows ever answered, at the last refusal."""
        self._knocking = False
        self._knocked_at = math.inf
        self._knock_s = FIRST_KNOCK_S
        self._next_knock = -math.inf
        self._hold_s = FIRST_HOLD_S
        self._hold_until = -math.inf
        self._step = 0
        """Rows that the last raise has added; 0 while the ceiling holds."""
        self._raised_at = -math.inf

    def __repr__(self) -> str:
        return f"<PermitCeiling rows={self.rows} open={self.open} step={self._step}>"

    def refused(self, now: float, sent_at: float, in_flight: int, answered: int) -> None:
        """Take note of a refused row, with the rows still in flight and all that were ever answered."""
        burst = sent_at <= self._cut_at
        dropped = self._knocking and not burst
        self.rows = max(1, min(self.rows, in_flight) // (2 if dropped else 1))
        if not burst:
            self._cut_at = now
            if self._step and now - self._raised_at < RECENT_S:
                self._hold_s = min(MAX_HOLD_S, self._hold_s * 2)
                self._hold_until = now + self._hold_s
        self._answered = answered
        self._step = 0
        self._knocking, self._knocked_at = True, math.inf
        if in_flight:
            self._knock_s = PAUSE_S
        elif not burst:
            self._knock_s = min(MAX_KNOCK_S, max(FIRST_KNOCK_S, self._knock_s * 2))
        self._next_knock = now + self._knock_s
        self.open = 0

    def adjust(self, now: float, in_flight: int, answered: int, most: int) -> None:
        """Knock, or try for more, if it is time; `most` is what would be in flight without a ceiling."""
        if self._knocking:
            if self._knocked_at == math.inf:
                if now >= self._next_knock and in_flight < self.rows:
                    self.open = in_flight + 1
                return
            if now - self._knocked_at < TAKEN_AFTER_S:
                return
            self._knocking = False
            if now >= self._hold_until:
                self.rows = max(1, min(self.rows, in_flight))
                self._raise(now, 1)
        elif in_flight >= self.rows:  # never, while there is no ceiling
            if self._step:
                if now - self._raised_at >= TAKEN_AFTER_S:
                    self._hold_s = FIRST_HOLD_S
                    self._raise(now, self._step * 2)
            elif now >= self._hold_until and (
                answered - self._answered >= ROWS_A_TRY or now - self._cut_at >= PATIENCE_S
            ):
                self._raise(now, 1)
        if self.rows >= most:
            self.rows = NO_CEILING
        self.open = self.rows

    def sent(self, now: float, in_flight: int) -> None:
        """Take note that rows were sent after `adjust`, as far as there were any."""
        if self._knocking and 0 < self.open <= in_flight:
            self._knocked_at = now
        if self._knocking:
            self.open = 0

    def _raise(self, now: float, step: int) -> None:
        self._step = step
        self.rows += step
        self._raised_at = now
