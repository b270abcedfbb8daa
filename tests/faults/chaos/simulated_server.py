"""A simulated LoRAX server that keeps its port and its logs over its lives."""

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.faults.chaos.call import Call, read_calls
from tests.processes import Simulator

ARGUMENTS = (
    *("--max-concurrent-requests", "40", "--cold-start", "4"),
    # Rows that ask for it are refused: the marker is in the dataset.
    *("--fault", "template-error"),
)


class SimulatedServer:
    """Server number `number` of the world."""

    def __init__(self, number: int, directory: Path, time_scale: float) -> None:
        self.number = number
        self.deaths: list[float] = []
        self._arrivals = directory / f"server-{number}-arrivals"
        self._requests = directory / f"server-{number}-requests"
        self._arguments = (
            *ARGUMENTS,
            *("--time-scale", str(time_scale)),
            *("--arrival-log", str(self._arrivals), "--request-log", str(self._requests)),
        )
        self._simulator = Simulator(*self._arguments)
        self.url = self._simulator.url

    def close(self) -> None:
        """Stop it."""
        self._simulator.__exit__()

    async def kill(self) -> int:
        """End it with SIGKILL, and start it again on its port; return the exit code of the old one."""
        process = self._simulator._process
        process.kill()
        code = await asyncio.to_thread(process.wait, 30)
        self.deaths.append(time.time())
        assert process.stdout is not None
        process.stdout.close()
        port = self.url.rpartition(":")[2]
        self._simulator = await asyncio.to_thread(Simulator, *self._arguments, "--port", port)
        return code

    async def ask(self, path: str, body: object = None) -> Any:
        """Return what a control endpoint answers."""
        return await asyncio.to_thread(self._simulator.ask, path, body)

    def calls(self) -> list[Call]:
        """Return what it received over all its lives."""
        return read_calls(self.number, self._arrivals, self._requests, self.deaths)
