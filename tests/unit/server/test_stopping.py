"""How open streams end in a shutdown."""

import asyncio

import pytest
from lorax_batch_server.errors import StoppingError
from lorax_batch_server.stopping import Stopping


async def test_a_waiting_stream_wakes_and_ends() -> None:
    stopping = Stopping()
    waiting = asyncio.create_task(stopping.wait(asyncio.Event(), 60))
    await asyncio.sleep(0)
    stopping.begin()
    stopping.begin()
    with pytest.raises(StoppingError):
        await waiting
    with pytest.raises(StoppingError):
        stopping.check()


async def test_a_wake_up_or_the_end_of_the_time_ends_a_wait() -> None:
    stopping, wake = Stopping(), asyncio.Event()
    wake.set()
    assert await stopping.wait(wake, 60)
    assert not wake.is_set()
    assert not await stopping.wait(wake, 0)


async def test_a_stream_that_waits_for_its_caller_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorax_batch_server.stopping.BLOCKED_S", 0.0)
    stopping = Stopping()

    async def blocked() -> None:
        async with stopping.cut_off():
            await asyncio.Event().wait()

    stream = asyncio.create_task(blocked())
    await asyncio.sleep(0)
    stopping.begin()
    with pytest.raises(StoppingError):
        await stream


async def test_a_timeout_of_the_streams_own_stays_one() -> None:
    stopping = Stopping()
    with pytest.raises(TimeoutError):
        async with stopping.cut_off():
            raise TimeoutError
