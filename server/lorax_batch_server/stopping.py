"""The moment from which open streams must end themselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from lorax_batch_server.errors import StoppingError
from lorax_batch_server.open_calls import OpenCalls

BLOCKED_S: Final = 1.0
"""A stream that waits for its caller when the shutdown begins is cut off after this time."""


class Stopping:
    """Set once, when the service begins to shut down; streams look at it between messages and while they wait."""

    def __init__(self) -> None:
        self._wakes: set[asyncio.Event] = set()
        self._calls = OpenCalls()
        self.begun = False

    def begin(self) -> None:
        """Wake every waiting stream; idempotent."""
        if self.begun:
            return
        self.begun = True
        for wake in self._wakes:
            wake.set()
        self._calls.end(after_s=BLOCKED_S)

    def check(self) -> None:
        """Raise `StoppingError` once the shutdown has begun."""
        if self.begun:
            raise StoppingError

    async def wait(self, wake: asyncio.Event, timeout_s: float) -> bool:
        """Wait until `wake` is set, clear it, and tell whether it was; False: the time is over.

        Raises:
            StoppingError: the shutdown has begun.
        """
        self.check()
        self._wakes.add(wake)
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await wake.wait()
        except TimeoutError:
            return False
        finally:
            self._wakes.discard(wake)
        wake.clear()
        self.check()
        return True

    @asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """Run a stream that may wait for its caller without end, but not during a shutdown.

        Raises:
            StoppingError: the shutdown has begun.
        """
        self.check()
        async with self._calls.endable(StoppingError):
            yield
