"""Time as an argument."""

import asyncio
from datetime import UTC, datetime

import pytest
from lorax_batch_scheduler.clock import ScaledClock, SystemClock


class Standing(SystemClock):
    """A clock that stands, and notes how long it was asked to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)

    def monotonic(self) -> float:
        return 10.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_a_second_of_a_scaled_clock_takes_the_scale() -> None:
    real = Standing()
    clock = ScaledClock(real, 0.05)
    assert clock.monotonic() == pytest.approx(200.0)
    await clock.sleep(40.0)
    assert real.slept == [pytest.approx(2.0)]
    assert clock.now() == real.now()


async def test_a_timeout_of_a_scaled_clock_ends_in_scaled_time() -> None:
    with pytest.raises(TimeoutError):
        async with ScaledClock(SystemClock(), 0.000_001).timeout(1_000.0):
            await asyncio.Event().wait()
