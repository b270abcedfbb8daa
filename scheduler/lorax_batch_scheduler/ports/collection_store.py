"""Where it is kept which objects no row names, and how far a look through the object store has come."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object, or an unfinished upload to its key."""

    key: str
    upload_id: str = ""
    """Empty: the object itself."""
    size_bytes: int = 0
    """0 for uploads: stores do not tell theirs."""


class UnnamedObject(StoredObject, frozen=True, kw_only=True):
    """One that no row names."""

    first_seen: datetime
    due: bool = False
    """Whether it was seen so for long enough."""


class CollectionPass(msgspec.Struct, frozen=True, kw_only=True):
    """A look through the store that was claimed."""

    database_id: str
    cursor: str
    """The last key that was looked at; empty: none was."""


class CollectionStore(Protocol):
    """The database's side of a collection. Raises `DatabaseError` when out of reach."""

    async def database_id(self) -> str:
        """Return what the store of this database is marked with."""
        ...

    async def claim_pass(self, holder: str, *, lease: timedelta, at_once: bool) -> CollectionPass | None:
        """Begin the pass that is due (any, with `at_once`), or go on with a dead process's; None: nothing to do."""
        ...

    async def advance_pass(self, holder: str, *, cursor: str, lease: timedelta) -> bool:
        """Note how far the pass has come; False when another process has taken it over."""
        ...

    async def release_pass(self, holder: str) -> None:
        """Leave the rest of the pass to whoever comes first."""
        ...

    async def end_pass(self, holder: str, *, next_in: timedelta) -> None:
        """Have the next pass after that time, and forget unnamed objects that this one has not seen."""
        ...

    async def unnamed(self, objects: Sequence[StoredObject]) -> list[UnnamedObject]:
        """Return those that no row names; changes nothing."""
        ...

    async def note_unnamed(self, objects: Sequence[StoredObject], *, grace: timedelta) -> list[UnnamedObject]:
        """Remember that no row names them; return them, those `due` that were seen first so long ago."""
        ...

    async def forget_unnamed(self, objects: Sequence[StoredObject]) -> None:
        """They are deleted."""
        ...
