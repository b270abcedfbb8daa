"""A real cluster, where KUBECONFIG names one: a server that asks for a GPU which no node has, so that none is needed.

LORAX_BATCH_TEST_NAMESPACE is where; the account must be allowed what the host of a fleet is. An API server with its
controller manager and scheduler will do: no node is needed.
"""

import asyncio
import os
import uuid
from collections.abc import Callable

import pytest
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchState
from lorax_batch_scheduler.server_hosts.kubernetes import KubernetesFleet, KubernetesHost, read_kubernetes_fleet
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import Resource
from lorax_batch_scheduler.server_hosts.kubernetes.connection import connect
from lorax_batch_scheduler.server_hosts.kubernetes.naming import fleet_selector

KUBECONFIG = os.environ.get("KUBECONFIG", "")
TIMEOUT_S = 180.0


@pytest.mark.skipif(not KUBECONFIG, reason="NO CLUSTER: set KUBECONFIG to the file of one that tests may use")
@pytest.mark.timeout(900)
async def test_a_real_cluster_takes_adopts_and_deletes_a_server() -> None:
    fleet = read_kubernetes_fleet(
        {
            "image": "lorax-batch.test/no-such-image:1",
            "namespace": os.environ.get("LORAX_BATCH_TEST_NAMESPACE", "default"),
            "fleet": f"test-{uuid.uuid4().hex[:8]}",
            "stop_grace_s": 1,
            "slots": [{"class": "test", "count": 1, "memory_gib": 1, "gpu_resource": "lorax-batch.test/no-such-gpu"}],
        }
    )
    clock = SystemClock()
    launch = Launch(family="f00d", base_model_id="none", model="none", arguments=("none",), hf_token="hf_none")
    changed = asyncio.Event()

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                changed.clear()
                await changed.wait()

    first = KubernetesHost(fleet, lambda: connect(fleet, clock), clock=clock)
    try:
        async with asyncio.TaskGroup() as group:
            life = group.create_task(first.run(changed.set))
            server_id = await first.start("test-0", launch)
            await until(lambda: first.servers[0].reason.startswith("Unschedulable"))
            life.cancel()
        second = KubernetesHost(fleet, lambda: connect(fleet, clock), clock=clock)
        async with asyncio.TaskGroup() as group:
            life = group.create_task(second.run(changed.set))
            await until(lambda: bool(second.servers))
            assert second.servers[0].server_id == server_id
            await second.stop(server_id)
            await until(lambda: second.servers[0].state is LaunchState.GONE)
            life.cancel()
        await until_nothing_is_left(fleet)
    finally:
        await first.close()


async def until_nothing_is_left(fleet: KubernetesFleet) -> None:
    """Return when no object of a fleet is in its namespace but its lease, which stays."""
    clock = SystemClock()
    async with connect(fleet, clock) as api, asyncio.timeout(TIMEOUT_S):
        for resource in (Resource.DEPLOYMENT, Resource.POD, Resource.SERVICE, Resource.SECRET):
            while (await api.list_objects(resource, fleet_selector(fleet.fleet))).items:
                await clock.sleep(1.0)
