"""Simulated LoRAX servers as what runs in the pods of a fake cluster."""

import asyncio

from lorax_batch_scheduler.server_hosts.kubernetes import ServerAddress

from tests.kubernetes.stored_objects import Object
from tests.processes import Simulator


class SimulatedContainers:
    """A simulator for each pod."""

    def __init__(self, *arguments: str) -> None:
        self.running: dict[str, Simulator] = {}
        self._arguments = arguments

    def url_of(self, address: ServerAddress) -> str:
        """Return where the server in a pod is: what the cluster's DNS would be asked for."""
        return self.running[address.pod].url

    async def start(self, pod: Object) -> None:
        arguments: list[str] = pod["spec"]["containers"][0]["args"]
        model = arguments[arguments.index("--model-id") + 1]
        simulator = await asyncio.to_thread(Simulator, "--model-id", model, *self._arguments)
        self.running[pod["metadata"]["name"]] = simulator

    async def stop(self, pod_name: str) -> None:
        if simulator := self.running.pop(pod_name, None):
            await asyncio.to_thread(simulator.__exit__)

    async def close(self) -> None:
        """End what is left."""
        for pod_name in list(self.running):
            await self.stop(pod_name)
