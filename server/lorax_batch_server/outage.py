"""The time in which PostgreSQL does not answer: calls are told so at once instead of waiting for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lorax_batch_scheduler.errors import DatabaseError

from lorax_batch_server.open_calls import OpenCalls


class Outage:
    """Begins and ends; calls that came before it began end with it."""

    def __init__(self) -> None:
        self._trouble = ""
        self._calls = OpenCalls()

    def begin(self, trouble: str) -> None:
        """End the calls that wait, and refuse others, with what is wrong."""
        self._trouble = trouble
        self._calls.end()

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
        async with self._calls.endable(self._error):
            yield

    def _error(self) -> DatabaseError:
        return DatabaseError(self._trouble or "PostgreSQL was out of reach for a while")
