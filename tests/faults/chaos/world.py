"""All processes of a run: services, PostgreSQL, simulated servers, an S3 server, and proxies between them."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.chaos.fault import Link, Topology
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.object_server import CONTROL
from tests.faults.chaos.replica import Replica
from tests.faults.chaos.schedule import LEASE_S, SERVERS, SERVICES
from tests.faults.chaos.shared_postgres import SharedPostgres, proxied_dsn
from tests.faults.chaos.simulated_server import SimulatedServer
from tests.faults.proxy import Proxy
from tests.s3_fixtures import store_url_at

SHUTDOWN_GRACE_S: Final = 5.0
REFUSAL_SLACK_S: Final = 12.0
"""A start may fail so long after what it needs came back: it had begun before, and waited."""
_CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class ObjectServer:
    """The S3 server, as a process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("object_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)

    def fail_with(self, status: int) -> int:
        """Answer with that status from now on, 0: well; return how many requests have failed so far."""
        request = urllib.request.Request(f"{self.url}{CONTROL}/{status}", method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.read())


@dataclass(slots=True, kw_only=True)
class World:
    """What faults are done to and jobs run on."""

    topology: Topology
    directory: Path
    findings: Findings
    servers: list[SimulatedServer] = field(default_factory=list)
    replicas: list[Replica] = field(default_factory=list)
    links: dict[Link, list[Proxy]] = field(default_factory=dict)
    postgres_directory: Path
    object_server: ObjectServer | None = None
    away_until: float = 0.0
    """Until when something that services need to start may be away."""

    @property
    def targets(self) -> list[str]:
        """Where the services listen."""
        return [replica.target for replica in self.replicas]

    def take_away(self, seconds: float) -> None:
        """Note that a service may fail to start for so long."""
        self.away_until = max(self.away_until, time.time() + seconds + REFUSAL_SLACK_S)

    def may_refuse(self, began: float) -> bool:
        """Return whether a service that was started then had a reason to give up."""
        return began <= self.away_until


@asynccontextmanager
async def open_world(
    topology: Topology, directory: Path, findings: Findings, time_scale: float
) -> AsyncIterator[World]:
    """Start everything, and leave nothing behind; the services end first, and must end well."""
    async with AsyncExitStack() as stack:
        world = World(
            topology=topology,
            directory=directory,
            findings=findings,
            postgres_directory=directory / "service-0" / "data" / "postgres",
        )
        for number in range(SERVERS):
            server = await asyncio.to_thread(SimulatedServer, number, directory, time_scale)
            stack.callback(server.close)
            world.servers.append(server)
        keepers = await stack.enter_async_context(_keepers())
        if topology is Topology.EMBEDDED:
            _add_replica(world, 0, [server.url for server in world.servers], ())
        else:
            await _share(world, stack, keepers)
        for replica in world.replicas:
            stack.callback(replica.close)
        await _start(world, stack)
        yield world


async def _share(world: World, stack: AsyncExitStack, keepers: "Keepers") -> None:
    """Set up what two services share, and the proxies that they reach it by: each its own."""
    stack.enter_context(_environment(_CREDENTIALS))
    world.postgres_directory = world.directory / "postgres"
    postgres = SharedPostgres(world.postgres_directory)
    stack.push_async_callback(postgres.stop)
    await postgres.start()
    stack.push_async_callback(keepers.add(postgres.live()))
    world.object_server = await asyncio.to_thread(ObjectServer)
    stack.callback(world.object_server.close)
    store_url = await asyncio.to_thread(store_url_at, world.object_server.url)
    count = SERVICES[world.topology]
    world.links = {
        Link.POSTGRES: [stack.enter_context(Proxy(postgres.socket)) for _ in range(count)],
        Link.STORE: [stack.enter_context(Proxy(world.object_server.url)) for _ in range(count)],
        Link.SERVERS: [stack.enter_context(Proxy(server.url)) for server in world.servers],
    }
    for number in range(count):
        store = world.links[Link.STORE][number]
        arguments = (
            *("--database-url", proxied_dsn(world.links[Link.POSTGRES][number].address)),
            *("--object-store", store_url.replace(world.object_server.url, store.url)),
        )
        _add_replica(world, number, [proxy.url for proxy in world.links[Link.SERVERS]], arguments)


def _add_replica(world: World, number: int, servers: list[str], arguments: tuple[str, ...]) -> None:
    directory = world.directory / f"service-{number}"
    directory.mkdir(mode=0o755)
    config = directory / "settings.toml"
    config.write_text(f"lease_s = {LEASE_S}\nshutdown_grace_s = {SHUTDOWN_GRACE_S}\n", encoding="utf-8")
    arguments = ("--config", str(config), *arguments)
    world.replicas.append(Replica(number, directory, servers, arguments, world.findings, world.may_refuse))


async def _start(world: World, stack: AsyncExitStack) -> None:
    keepers = await stack.enter_async_context(_keepers())
    for replica in world.replicas:
        stack.push_async_callback(replica.drain)
        stack.push_async_callback(keepers.add(replica.live()))


class Keepers:
    """The tasks that start processes again."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def add(self, keeping: Coroutine[Any, Any, None]) -> Callable[[], Coroutine[Any, Any, None]]:
        """Run it; return what ends it."""
        task = self._group.create_task(keeping)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        return end


@asynccontextmanager
async def _keepers() -> AsyncIterator[Keepers]:
    async with asyncio.TaskGroup() as group:
        yield Keepers(group)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes to come."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
