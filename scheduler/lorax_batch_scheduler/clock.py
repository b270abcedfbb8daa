"""Time as an argument: the service gets the system's, tests get one they move by hand."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where code takes the time from."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        ...

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """Return a context that raises `TimeoutError` when it lasts longer than that."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds)


class ScaledClock:
    """A clock of which a second takes `scale` seconds; what it shows as the time of day stays as it is."""

    def __init__(self, clock: Clock, scale: float) -> None:
        self._clock = clock
        self._scale = scale

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic() / self._scale

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds * self._scale)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        return self._clock.timeout(seconds * self._scale)


class DatabaseClock(SystemClock):
    """The database's wall clock, counted on from when it was last read.

    Deadlines are ends that can't be taken back, and several processes watch them: a machine's clock that jumps, or
    differs from the others', must not decide.
    """

    def __init__(self, now: datetime) -> None:
        self.read(now)

    def read(self, now: datetime) -> None:
        """Take over what the database's clock shows."""
        self._read, self._read_at = now, self.monotonic()

    def now(self) -> datetime:
        return self._read + timedelta(seconds=self.monotonic() - self._read_at)
