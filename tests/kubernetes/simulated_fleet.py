"""A fleet in a fake cluster whose pods are simulated LoRAX servers: what the conformance suite of hosts runs on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.ports.server_host import LaunchedServer
from lorax_batch_scheduler.server_hosts.kubernetes import KubernetesHost

from tests.kubernetes.cluster import FakeCluster
from tests.kubernetes.simulated_containers import SimulatedContainers


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedFleet:
    """Makes hosts of two slots, `a100-0` and `a100-1`; each host is a life of one and the same fleet."""

    cluster: FakeCluster
    containers: SimulatedContainers

    def host(self, *, slots: int = 2) -> KubernetesHost:
        """Return a host that is not running yet; with fewer slots than an earlier life, the others are gone."""
        table = [{"class": "a100", "count": slots, "memory_gib": 80, "gpu_kind": "a100-80"}]
        return self.cluster.host(url_of=self.containers.url_of, clock=SystemClock(), slots=table)

    async def crash(self, server: LaunchedServer, log: str, *, exit_code: int = 1) -> None:
        """Let a server end by itself, again and again."""
        pod = self.cluster.kubelet.pod(server.server_id)
        await self.containers.stop(pod["metadata"]["name"])
        self.cluster.kubelet.crash(server.server_id, exit_code, log=log)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of any server is left: no object, no process."""
        return not self.containers.running and not any(self.cluster.names().values())


@asynccontextmanager
async def simulated_fleet(folder: Path, *arguments: str) -> AsyncIterator[SimulatedFleet]:
    """Yield a fleet; the arguments are the simulators'."""
    containers = SimulatedContainers("--time-scale", "0", *arguments)
    try:
        async with FakeCluster(folder, containers).running() as cluster:
            yield SimulatedFleet(cluster=cluster, containers=containers)
    finally:
        await containers.close()
