"""The service's account needs what the documentation asks for, and no more."""

from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.ports.server_host import LaunchState

from tests.kubernetes.cluster import FakeCluster, launch
from tests.kubernetes.fake_api import Fault
from tests.kubernetes.rights import documented_rules, rights_of


async def test_every_right_that_is_asked_for_is_used(cluster: FakeCluster) -> None:
    """The other way round, every test with a fake cluster tells: it refuses what the documentation does not name."""
    cluster.api.faults.append(Fault(method="POST", plural="deployments", status=503, after=True))
    async with cluster.life(cluster.host(holder="first", clock=SystemClock())) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.kubelet.crash(server_id, 1, log="the last words\n")
        await cluster.until_state(host, server_id, LaunchState.GONE)
    assert cluster.api.used == rights_of(documented_rules())


async def test_what_the_documentation_does_not_name_is_refused(cluster: FakeCluster) -> None:
    """So that the tests with a fake cluster show that its Role is enough."""
    cluster.api.rights -= {right for right in cluster.api.rights if right.resource == "pods/log"}
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.kubelet.crash(server_id, 1, log="the last words\n")
        server = await cluster.until_state(host, server_id, LaunchState.GONE)
        assert server.log_tail == ()
