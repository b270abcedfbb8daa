"""What of the object store is to be deleted."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import msgspec


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix that was given up."""

    prefix: str
    """Ends in `/`."""
    keep: str
    """What begins with this stays; empty: nothing does."""
    runs: int
    """How often it was carried out."""


class RemovalStore(Protocol):
    """The removals that the stores of datasets and jobs have planned. Raises `DatabaseError` when out of reach."""

    async def due_removals(self, *, limit: int) -> list[Removal]:
        """Return what is due on database time, the oldest first."""
        ...

    async def removals_of(self, prefixes: Sequence[str]) -> list[Removal]:
        """Return the removals of these prefixes, due or not."""
        ...

    async def removed(self, removal: Removal, *, again_in: timedelta | None) -> None:
        """It was carried out: have it again after that time, or forget it. Nothing when another process was faster."""
        ...
