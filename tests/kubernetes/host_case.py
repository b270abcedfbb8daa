"""Fleets in Kubernetes as the conformance suite of hosts needs them: a fake cluster in a thread of its own."""

import asyncio
import json
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from lorax_batch_scheduler.ports.server_host import LaunchedServer
from lorax_batch_scheduler.server_hosts.kubernetes import KubernetesHost

from tests.kubernetes.simulated_fleet import SimulatedFleet, simulated_fleet

T = TypeVar("T")
TIMEOUT_S = 30.0


class KubernetesCase:
    """Simulators as the pods of a fake cluster, which outlives hosts; `close` ends both."""

    slot_ids = ("a100-0", "a100-1")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._opened = threading.Event()
        self._ended = asyncio.Event()
        self._fleet: SimulatedFleet | None = None
        self._thread = threading.Thread(target=self._run, name="fake-cluster", daemon=True)
        self._thread.start()
        assert self._opened.wait(TIMEOUT_S)

    def open(self, *slot_ids: str) -> KubernetesHost:
        """Return a new host, with the first of the slots or all."""
        return self.fleet.host(slots=len(slot_ids) or 2)

    @property
    def fleet(self) -> SimulatedFleet:
        assert self._fleet is not None
        return self._fleet

    def exists(self, server: LaunchedServer) -> bool:
        """Tell whether its pod's process runs."""
        return any(server.url == simulator.url for simulator in list(self.fleet.containers.running.values()))

    def break_down(self, server: LaunchedServer) -> None:
        """Let it die, as the kernel does where memory is short."""
        self._do(self.fleet.crash(server, "the last words\n", exit_code=137))

    def traces(self) -> str:
        """Return all that the cluster shows to those who may not read Secrets."""

        async def read() -> str:
            stored = self.fleet.cluster.stored
            items = [it for plural in ("deployments", "pods", "services") for it in stored.list_all(plural)]
            return json.dumps(items)

        return self._do(read())

    def close(self) -> None:
        """End the cluster and all that runs in it."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self._live())

    async def _live(self) -> None:
        async with simulated_fleet(self._directory) as self._fleet:
            self._opened.set()
            await self._ended.wait()
