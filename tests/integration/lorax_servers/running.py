"""A runner at work on a server, with short patience."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.fleet import ServerLimits, Slot
from lorax_batch_scheduler.lorax_servers import ServerProbe
from lorax_batch_scheduler.running.runner import RunnerSettings, ServerRunner
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.work import ChunkWork

from tests.rows import RecordingSink

QUICK = RunnerSettings(sweep_s=0.005, hold_s=5.0)


@dataclass(slots=True)
class Running:
    """A runner, what it made, and what it gave back."""

    runner: ServerRunner
    sink: RecordingSink
    returned: list[ChunkWork] = field(default_factory=list)
    asked_for_work: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def results(self, count: int, timeout_s: float = 20.0) -> None:
        """Wait until so many rows have results."""
        await self.until(lambda: len(self.sink.lines) >= count, timeout_s)
        assert len(self.sink.lines) == count

    async def until(self, holds, timeout_s: float = 20.0) -> None:
        """Wait until something holds; looked at after every result, return and sweep."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                try:
                    async with asyncio.timeout(0.02):
                        await self.changed.wait()
                except TimeoutError:
                    pass
                self.changed.clear()


@asynccontextmanager
async def running(
    url: str,
    *works: ChunkWork,
    limits: ServerLimits | None = None,
    settings: RunnerSettings = QUICK,
    max_in_flight: int | None = None,
    sink: RecordingSink | None = None,
    tls: ClientTls | None = None,
) -> AsyncIterator[Running]:
    """Run the chunks on the server at `url`; its limits are what it reports unless given."""
    sink = sink or RecordingSink()
    limits = limits or await ServerProbe(url, tls=tls).read_limits()

    def on_returned(work: ChunkWork) -> None:
        state.returned.append(work)
        state.changed.set()

    def on_idle() -> None:
        state.asked_for_work += 1

    runner = ServerRunner(
        server_id="s1",
        url=url,
        limits=limits,
        slot=Slot(slot_id="s1", kind="static", url=url, max_in_flight=max_in_flight),
        sink=sink,
        clock=SystemClock(),
        chance=random.Random(7),
        on_returned=on_returned,
        on_idle=on_idle,
        log=structlog.get_logger(),
        settings=settings,
        tls=tls,
    )
    state = Running(runner, sink)
    sink.on_add = state.changed.set
    for work in works:
        runner.give(work)
    task = asyncio.create_task(runner.run())
    try:
        yield state
    finally:
        await runner.close(0)
        async with asyncio.timeout(5):
            await task
