"""A fake cluster on loopback, and hosts that run on it through the real client library."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.server_hosts.kubernetes import KubernetesHost, UrlOf, cluster_url, read_kubernetes_fleet
from lorax_batch_scheduler.server_hosts.kubernetes.connection import connect

from tests.kubernetes.fake_api import FakeApi
from tests.kubernetes.kubelet import Containers, Kubelet
from tests.kubernetes.stored_objects import StoredObjects

TIMEOUT_S = 20.0
MODEL = "mistralai/Mistral-7B-Instruct-v0.2"


class QuickClock(SystemClock):
    """Does not sleep; notes for how long it was to."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class FakeCluster:
    """An API server, controllers and a kubelet."""

    def __init__(self, folder: Path, containers: Containers | None = None) -> None:
        self.stored = StoredObjects()
        self.kubelet = Kubelet(self.stored, containers)
        self.api = FakeApi(self.stored, self.kubelet.read_log)
        self.kubeconfig = folder / "kubeconfig"
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeCluster"]:
        runner = web.AppRunner(self.api.application(), handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        self.url = f"http://{host}:{port}"
        self.write_kubeconfig("a-token")
        try:
            async with asyncio.TaskGroup() as group:
                kubelet = group.create_task(self.kubelet.run())
                try:
                    yield self
                finally:
                    kubelet.cancel()
        finally:
            await runner.cleanup()

    def write_kubeconfig(self, token: str) -> None:
        """Write what the client finds the cluster by."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }
        self.kubeconfig.write_text(json.dumps(config), encoding="utf-8")

    def host(
        self, *, url_of: UrlOf = cluster_url, clock: SystemClock | None = None, holder: str = "", **table: Any
    ) -> KubernetesHost:
        """Return a host that is not running yet; `table` is what differs from a small fleet."""
        fleet = read_kubernetes_fleet(fleet_table(kubeconfig=str(self.kubeconfig), **table))
        clock = clock or QuickClock()
        return KubernetesHost(fleet, lambda: connect(fleet, clock), clock=clock, url_of=url_of, holder=holder)

    @asynccontextmanager
    async def life(self, host: KubernetesHost) -> AsyncIterator[KubernetesHost]:
        """Run a host for a while; its servers stay."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(host.run(self.stored.wake))
            try:
                yield host
            finally:
                task.cancel()

    async def until(self, holds: Callable[[], object]) -> None:
        """Return when something holds; asked after each change of the cluster or of a host."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                await self.stored.changed.wait()

    async def until_state(self, host: KubernetesHost, server_id: str, state: LaunchState) -> LaunchedServer:
        """Return a server when it is in a state."""
        await self.until(lambda: server_of(host, server_id).state is state)
        return server_of(host, server_id)

    async def until_reason(self, host: KubernetesHost, server_id: str, reason: str) -> LaunchedServer:
        """Return a server when its reason holds a text."""
        await self.until(lambda: reason in server_of(host, server_id).reason)
        return server_of(host, server_id)

    def names(self) -> dict[str, list[str]]:
        """Return the names of all objects by their kinds."""
        return {
            plural: [item["metadata"]["name"] for item in self.stored.list_all(plural)]
            for plural in ("deployments", "pods", "services", "secrets")
        }


NOTHING: dict[str, list[str]] = {"deployments": [], "pods": [], "services": [], "secrets": []}


def fleet_table(**table: Any) -> dict[str, Any]:
    """Return the table of a fleet with two slots."""
    slots = [{"class": "a100", "count": 2, "memory_gib": 80, "gpu_kind": "a100-80"}]
    return {"image": "registry.example/predibase/lorax:0.12.1", "namespace": "batch", "slots": slots, **table}


def launch(**changes: Any) -> Launch:
    """Return what a server is to be started with."""
    return Launch(
        **{"family": "f00d", "base_model_id": "mistral-7b", "model": MODEL, "hf_token": "hf_secret"} | changes
    )


def server_of(host: KubernetesHost, server_id: str) -> LaunchedServer:
    """Return a server of a host."""
    [server] = [server for server in host.servers if server.server_id == server_id]
    return server
