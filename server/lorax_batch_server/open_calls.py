"""Calls and streams under way, which can be ended from outside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class OpenCalls:
    """Those that run under `endable`; `end` ends them all."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()

    @property
    def any_open(self) -> bool:
        """Whether one is under way."""
        return bool(self._limits)

    def end(self, *, after_s: float = 0.0) -> None:
        """Cut off, after so many seconds, whatever is under way then of what is under way now."""
        when = asyncio.get_running_loop().time() + after_s
        for limit in self._limits:
            limit.reschedule(when)

    @asynccontextmanager
    async def endable(self, error: Callable[[], Exception]) -> AsyncIterator[None]:
        """Run a call; when it is cut off, raise what `error` returns."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if limit.expired():
                raise error() from None
            raise
        finally:
            self._limits.discard(limit)
