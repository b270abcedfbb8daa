"""What SIGTERM and SIGINT ask for: the first a stop, the second a quick one."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class StopSignals:
    """Two events, set by the first and the second signal."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def install(self) -> None:
        """Take the signals from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked)

    async def unless_stopped(self, starting: Coroutine[Any, Any, _T]) -> _T | None:
        """Return what a start returns; None when a stop was asked for meanwhile: the start was given up."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(starting)
            stopped = group.create_task(self.stop.wait())
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                _log.info("start_given_up")
                task.cancel()
            stopped.cancel()
        return None if task.cancelled() or self.stop.is_set() else task.result()

    def _asked(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()
