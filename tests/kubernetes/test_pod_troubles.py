"""What a host tells of pods that do not run."""

import pytest
from lorax_batch_scheduler.ports.server_host import LaunchState

from tests.kubernetes.cluster import NOTHING, FakeCluster, launch, server_of
from tests.kubernetes.fake_api import Fault


async def test_an_unschedulable_pod_says_why(cluster: FakeCluster) -> None:
    cluster.kubelet.holds_starts = True
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_reason(host, server_id, "its pod is being scheduled")
        cluster.kubelet.set_unschedulable(server_id, "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
        server = await cluster.until_reason(host, server_id, "Insufficient nvidia.com/gpu")
        assert server.reason.startswith("Unschedulable: ")
        assert (server.state, server.url) == (LaunchState.STARTING, "")


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("ImagePullBackOff", "ImagePullBackOff: not found"),
        ("ErrImagePull", "ErrImagePull: not found"),
        ("InvalidImageName", "InvalidImageName: not found"),
        ("CreateContainerConfigError", "CreateContainerConfigError: not found"),
        ("ContainerCreating", "its image is being pulled"),
    ],
)
async def test_a_waiting_container_says_for_what(cluster: FakeCluster, cause: str, told: str) -> None:
    cluster.kubelet.holds_starts = True
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until(lambda: cluster.kubelet.pods(server_id))
        cluster.kubelet.set_waiting(server_id, cause, "not found")
        server = await cluster.until_reason(host, server_id, told)
        assert server.state is LaunchState.STARTING
        cluster.kubelet.set_running(server_id)
        assert (await cluster.until_state(host, server_id, LaunchState.UP)).reason == ""


async def test_a_server_that_crashes_again_and_again_is_gone_with_its_last_lines(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        log = "\n".join(f"line {number}" for number in range(100))
        cluster.kubelet.crash(server_id, 2, log=log)
        server = await cluster.until_state(host, server_id, LaunchState.GONE)
        assert server.reason == "CrashLoopBackOff: it ended with exit status 2 after 2 restarts"
        assert server.log_tail == tuple(f"line {number}" for number in range(50, 100))
        assert cluster.names() == NOTHING
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


async def test_a_crash_is_told_also_without_its_log(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.kubelet.logs.clear()
        cluster.api.faults.append(Fault(method="GET", plural="pods", status=503, times=3, watches=False))
        cluster.kubelet.crash(server_id, 137, reason="OOMKilled")
        del cluster.kubelet.logs[cluster.kubelet.pod(server_id)["metadata"]["name"], True]
        server = await cluster.until_state(host, server_id, LaunchState.GONE)
        assert "ended with exit status 137 (OOMKilled" in server.reason
        assert server.log_tail == ()


async def test_a_server_that_is_killed_once_comes_back_and_says_why(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.kubelet.set_ended(server_id, 137, "OOMKilled")
        server = await cluster.until_reason(host, server_id, "OOMKilled")
        assert (server.state, server.url) == (LaunchState.STARTING, "")
        last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        cluster.kubelet.set_running(server_id, restarts=1, last=last)
        server = await cluster.until_state(host, server_id, LaunchState.UP)
        assert "restarted 1 times, it last ended with exit status 137 (OOMKilled" in server.reason


async def test_an_evicted_pod_is_replaced(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.kubelet.holds_starts = True
        cluster.kubelet.evict(server_id)
        await cluster.until_state(host, server_id, LaunchState.STARTING)
        await cluster.until(lambda: len(cluster.kubelet.pods(server_id)) == 2)
        cluster.kubelet.release()
        await cluster.until_state(host, server_id, LaunchState.UP)


async def test_a_pod_that_a_quota_forbids_says_so(cluster: FakeCluster) -> None:
    cluster.kubelet.holds_pods = True
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        [deployment] = cluster.stored.list_all("deployments")
        condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
        cluster.stored.update("deployments", deployment | {"status": {"conditions": [condition]}})
        await cluster.until_reason(host, server_id, "FailedCreate: exceeded quota")
        assert server_of(host, server_id).state is LaunchState.STARTING
