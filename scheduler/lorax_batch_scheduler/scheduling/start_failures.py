"""Families whose servers fail to start: who is held back for how long, and when to give up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 600.0
MAX_FAILED_STARTS: Final = 5
"""After so many in a row, on slots of one kind, a family is hopeless there."""
_SHOWN_LINES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStarts:
    """What has gone wrong with a family on slots of one kind, without a success since."""

    count: int
    until: float
    """Monotonic seconds: not tried again before."""
    reason: str
    log_tail: tuple[str, ...] = ()

    @property
    def hopeless(self) -> bool:
        """Whether it has been tried often enough."""
        return self.count >= MAX_FAILED_STARTS

    def told(self) -> str:
        """Return it for people."""
        said = "; ".join(line.strip() for line in self.log_tail[-_SHOWN_LINES:] if line.strip())
        log = f"; last lines of its log: {said}" if said else ""
        return f"its servers failed to start {self.count} times in a row, the last: {self.reason}{log}"


class StartFailures:
    """Counts failed starts by (family, GPU kind); pure."""

    def __init__(self) -> None:
        self._failed: dict[tuple[str, str], FailedStarts] = {}

    def add(self, family: str, kind: str, now: float, reason: str, log_tail: Sequence[str] = ()) -> FailedStarts:
        """Count a failed start; the pause doubles with each."""
        before = self._failed.get((family, kind))
        count = before.count + 1 if before is not None else 1
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (count - 1), MAX_PAUSE_S)
        failed = FailedStarts(count=count, until=now + pause_s, reason=reason, log_tail=tuple(log_tail))
        self._failed[family, kind] = failed
        return failed

    def succeeded(self, family: str, kind: str) -> None:
        """A server of the family is ready: begin anew."""
        self._failed.pop((family, kind), None)

    def held_until(self, family: str) -> dict[str, float]:
        """Return by kind until when a family is not tried again."""
        return {kind: failed.until for (name, kind), failed in self._failed.items() if name == family}

    def hopeless(self, family: str, kinds: Sequence[str]) -> FailedStarts | None:
        """Return what went wrong last when the family is hopeless on all these kinds of slots."""
        found = [self._failed.get((family, kind)) for kind in kinds]
        if not found or any(failed is None or not failed.hopeless for failed in found):
            return None
        return found[-1]
