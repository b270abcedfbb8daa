"""Who may plan now."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningTurn:
    """The right to start and stop servers, for a while."""

    foretells: bool
    """Whether this scheduler is the one that tells callers when jobs end."""


class PlanningTurns(Protocol):
    """One scheduler plans at a time. A turn ends by itself, at the latest with the lease of its scheduler."""

    async def take_turn(self, scheduler_id: str, turn: timedelta) -> PlanningTurn | None:
        """Take the turn, or take it again; None while it is another's."""
        ...

    async def end_turn(self, scheduler_id: str) -> None:
        """Let the others plan; nothing happens when the turn was lost."""
        ...
