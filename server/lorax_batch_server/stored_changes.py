"""State changes that lie further back than what the hub keeps, read in pages which all who are behind share."""

import asyncio
import bisect
from collections import deque

from lorax_batch_scheduler.job import StateChange
from lorax_batch_scheduler.ports import EventStore


class StoredChanges:
    """A few pages of the store, read one at a time: after a restart thousands of watchers ask for the same ones."""

    def __init__(self, events: EventStore, *, page_size: int, kept_pages: int) -> None:
        self._events = events
        self._page_size = page_size
        self._pages: deque[tuple[int, list[StateChange]]] = deque(maxlen=kept_pages)
        """What a page lies behind, and its state changes; stored ones never change."""
        self._turn = asyncio.Lock()

    async def next(self, after: int) -> StateChange | None:
        """Return the first state change behind a sequence; None: there is none yet.

        Raises:
            SequenceTooOldError: it is no longer kept.
        """
        change = self._find(after)
        if change is not None:
            return change
        async with self._turn:
            change = self._find(after)
            if change is None:
                page = await self._events.state_changes(after, limit=self._page_size)
                if page:
                    self._pages.append((after, page))
                    change = page[0]
        return change

    def _find(self, after: int) -> StateChange | None:
        for begins_behind, page in self._pages:
            if begins_behind <= after < page[-1].sequence:
                return page[bisect.bisect_right(page, after, key=lambda change: change.sequence)]
        return None
