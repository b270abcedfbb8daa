"""Families whose servers fail to start: who is held back for how long, and when to give up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MAX_PAUSE_S: Final = 600.0
_SHOWN_LINES: Final = 5
_SHORT_CHARACTERS: Final = 160
"""Of a log line that is told while others are still to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStarts:
    """What has gone wrong with a family on slots of one kind, without a success since."""

    count: int
    until: float
    """Monotonic seconds: not tried again before."""
    next_try: datetime
    """The same moment by the calendar."""
    reason: str
    log_tail: tuple[str, ...] = ()

    def told_shortly(self) -> str:
        """Return it for people whose job waits for the next try."""
        last = next((line.strip() for line in reversed(self.log_tail) if line.strip()), "")
        cut = f"{last[: _SHORT_CHARACTERS - 1]}…" if len(last) > _SHORT_CHARACTERS else last
        log = f" ({cut})" if cut else ""
        return f"{self.reason}{log}; the next try is at {self.next_try:%H:%M:%S} UTC"

    def told(self, model: str) -> str:
        """Return it for people who wait for a server of a base model."""
        said = "; ".join(line.strip() for line in self.log_tail[-_SHOWN_LINES:] if line.strip())
        log = f"; last lines of its log: {said}" if said else ""
        return (
            f"servers of {model} failed to start {self.count} times in a row (max_failed_starts), the last: "
            f"{self.reason}{log}; once that is mended, `lorax-batch jobs retry` runs the rows that are left"
        )


class StartFailures:
    """Counts failed starts by (family, GPU kind); pure."""

    def __init__(self, *, first_pause_s: float, max_failed_starts: int) -> None:
        """`max_failed_starts`: after so many in a row, on slots of one kind, a family is hopeless there."""
        self._first_pause_s = first_pause_s
        self._max_failed_starts = max_failed_starts
        self._failed: dict[tuple[str, str], FailedStarts] = {}

    def add(
        self, family: str, kind: str, now: float, reason: str, log_tail: Sequence[str] = (), *, time: datetime
    ) -> FailedStarts:
        """Count a failed start; the pause doubles with each. `now` and `time` are one moment, by both clocks."""
        before = self._failed.get((family, kind))
        count = before.count + 1 if before is not None else 1
        pause_s = min(self._first_pause_s * 2.0 ** (count - 1), MAX_PAUSE_S)
        failed = FailedStarts(
            count=count,
            until=now + pause_s,
            next_try=time + timedelta(seconds=pause_s),
            reason=reason,
            log_tail=tuple(log_tail),
        )
        self._failed[family, kind] = failed
        return failed

    def succeeded(self, family: str, kind: str) -> None:
        """A server of the family is ready: begin anew."""
        self._failed.pop((family, kind), None)

    def held_until(self, family: str) -> dict[str, float]:
        """Return by kind until when a family is not tried again."""
        return {kind: failed.until for (name, kind), failed in self._failed.items() if name == family}

    def held_because(self, family: str) -> dict[str, str]:
        """Return by kind what went wrong there and when it is tried again."""
        return {kind: failed.told_shortly() for (name, kind), failed in self._failed.items() if name == family}

    def hopeless(self, family: str, kinds: Sequence[str]) -> FailedStarts | None:
        """Return what went wrong last when the family is hopeless on all these kinds of slots."""
        found = [self._failed.get((family, kind)) for kind in kinds]
        if not found or any(failed is None or failed.count < self._max_failed_starts for failed in found):
            return None
        return found[-1]
