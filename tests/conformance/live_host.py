"""A server host that runs, for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lorax_batch_scheduler.errors import ServerUnreachableError
from lorax_batch_scheduler.lorax_servers.probe import ServerProbe
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState, ServerHost

TIMEOUT_S = 30.0


class LiveHost:
    """A host whose changes a test can wait for."""

    def __init__(self, host: ServerHost) -> None:
        self.host = host
        self._changed = asyncio.Event()

    def note_change(self) -> None:
        """Wake who waits."""
        self._changed.set()

    def server(self, server_id: str) -> LaunchedServer:
        """Return a server as the host shows it now."""
        return next(server for server in self.host.servers if server.server_id == server_id)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds, asking at each change that the host tells of."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def reaches(self, server_id: str, state: LaunchState) -> LaunchedServer:
        """Return a server once it is in a state."""
        await self.until(lambda: self.server(server_id).state is state)
        return self.server(server_id)


@asynccontextmanager
async def running(host: ServerHost, *, close: bool = True) -> AsyncIterator[LiveHost]:
    """Run a host; without `close` its servers outlive it, as they do a crash."""
    live = LiveHost(host)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(host.run(live.note_change))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await live._changed.wait()
            yield live
        finally:
            if close:
                await host.close()
            task.cancel()


async def answering_model(url: str) -> str:
    """Return which model a server says that it has, once it answers."""
    probe = ServerProbe(url)
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return (await probe.read_limits()).model_id
            except ServerUnreachableError:
                await asyncio.sleep(0.02)


async def eventually(holds: Callable[[], bool]) -> None:
    """Return when something holds that no host tells of."""
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():  # noqa: ASYNC110 - it is asked of the system
            await asyncio.sleep(0.02)
