"""The moment from which open streams must end themselves."""

import asyncio

from lorax_batch_server.errors import StoppingError


class Stopping:
    """Set once, when the service begins to shut down; streams look at it between messages and while they wait."""

    def __init__(self) -> None:
        self._wakes: set[asyncio.Event] = set()
        self.begun = False

    def begin(self) -> None:
        """Wake every waiting stream; idempotent."""
        self.begun = True
        for wake in self._wakes:
            wake.set()

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
