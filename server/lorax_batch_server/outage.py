"""The time in which PostgreSQL does not answer: calls are told so at once instead of waiting for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lorax_batch_scheduler.errors import DatabaseError


class Outage:
    """Begins and ends; calls that came before it began end with it."""

    def __init__(self) -> None:
        self._trouble = ""
        self._limits: set[asyncio.Timeout] = set()

    def begin(self, trouble: str) -> None:
        """End the calls that wait, and refuse others, with what is wrong."""
        self._trouble = trouble
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)

    def end(self) -> None:
        """Take calls again."""
        self._trouble = ""

    def check(self) -> None:
        """Raise `DatabaseError` during an outage."""
        if self._trouble:
            raise DatabaseError(self._trouble)

    @asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """Run a call that can't end without PostgreSQL.

        Raises:
            DatabaseError: it does not answer.
        """
        self.check()
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if limit.expired():
                raise DatabaseError(self._trouble or "PostgreSQL was out of reach for a while") from None
            raise
        finally:
            self._limits.discard(limit)
