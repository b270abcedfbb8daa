"""Loads what an earlier life has learned, and stores in the background what this one learns."""

from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.estimates.learned_book import MAX_SUBJECTS, LearnedBook
from lorax_batch_scheduler.ports.learned_store import LearnedStore

STORE_INTERVAL_S: Final = 5.0
"""So much of what was learned may be lost in a crash."""

_log = structlog.get_logger()


class LearnedKeeper:
    """Owns the stored form of a book; see `run`."""

    def __init__(self, book: LearnedBook, store: LearnedStore, clock: Clock) -> None:
        self._book = book
        self._store = store
        self._clock = clock

    async def load(self) -> None:
        """Take in what is stored. Raises `DatabaseError`."""
        self._book.load(await self._store.learned(limit=MAX_SUBJECTS))

    async def run(self) -> None:
        """Store what has changed every few seconds, until cancelled; a database that is away is tried again."""
        while True:
            await self._clock.sleep(STORE_INTERVAL_S)
            try:
                await self.store()
            except DatabaseError as error:
                _log.warning("learned_not_stored", error=str(error))

    async def store(self) -> None:
        """Store what has changed now; also to be called once when the service stops. Raises `DatabaseError`."""
        changed = self._book.take_changed()
        try:
            await self._store.store_learned(changed)
        except BaseException:
            self._book.give_back(changed)
            raise
