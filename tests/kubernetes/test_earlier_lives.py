"""What a host does with what an earlier life of it has left."""

import copy

import pytest
from lorax_batch_scheduler.errors import FleetError
from lorax_batch_scheduler.ports.server_host import LaunchState

from tests.kubernetes.cluster import NOTHING, FakeCluster, launch, server_of
from tests.kubernetes.fake_api import Fault


async def test_a_living_server_is_adopted(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as earlier:
        server_id = await earlier.start("a100-0", launch())
        before = await cluster.until_state(earlier, server_id, LaunchState.UP)
    async with cluster.life(cluster.host()) as host:
        await cluster.until(lambda: host.servers)
        assert list(host.servers) == [before]
        await host.stop(server_id)
        await cluster.until_state(host, server_id, LaunchState.GONE)
        assert cluster.names() == NOTHING


async def test_a_server_that_was_still_loading_is_adopted(cluster: FakeCluster) -> None:
    cluster.kubelet.holds_starts = True
    async with cluster.life(cluster.host()) as earlier:
        server_id = await earlier.start("a100-0", launch())
    async with cluster.life(cluster.host()) as host:
        await cluster.until(lambda: host.servers)
        assert server_of(host, server_id).state is LaunchState.STARTING
        cluster.kubelet.release()
        await cluster.until_state(host, server_id, LaunchState.UP)


async def test_the_same_host_runs_a_second_time(cluster: FakeCluster) -> None:
    host = cluster.host()
    async with cluster.life(host):
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lorax_batch_scheduler.server_hosts.kubernetes.host.CONNECT_TIMEOUT_S", 0.01)
        with pytest.raises(FleetError, match="the host does not run"):
            await host.start("a100-1", launch())
    cluster.stored.remove("deployments", cluster.stored.list_all("deployments")[0])
    async with cluster.life(host):
        await cluster.until_state(host, server_id, LaunchState.GONE)
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


@pytest.mark.parametrize("plural", ["secrets", "services", "deployments"])
async def test_an_unfinished_start_is_collected(cluster: FakeCluster, plural: str) -> None:
    host = cluster.host()
    cluster.api.faults += [
        Fault(method="PATCH", plural=plural, status=403),
        Fault(method="DELETE", plural="services", status=403, times=10_000),
    ]
    async with cluster.life(host):
        with pytest.raises(FleetError):
            await host.start("a100-0", launch())  # and its deletion fails too, until this life ends
    assert cluster.names()["deployments"]
    assert not cluster.names()["pods"]
    cluster.api.faults.clear()
    async with cluster.life(cluster.host()) as next_host:
        await cluster.until(lambda: cluster.names() == NOTHING)
        await cluster.until(lambda: all(it.state is LaunchState.GONE for it in next_host.servers))
        await cluster.until_state(next_host, await next_host.start("a100-0", launch()), LaunchState.UP)


async def test_the_server_of_a_slot_that_is_not_configured_any_more_is_collected(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as earlier:
        kept, lost = await earlier.start("a100-0", launch()), await earlier.start("a100-1", launch())
        await cluster.until_state(earlier, lost, LaunchState.UP)
    smaller = cluster.host(slots=[{"class": "a100", "count": 1, "memory_gib": 80}])
    async with cluster.life(smaller) as host:
        await cluster.until(lambda: cluster.names()["services"] == [kept] and len(cluster.names()["deployments"]) == 1)
        assert [server.server_id for server in host.servers] == [kept]


async def test_services_and_secrets_without_a_deployment_are_collected(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as earlier:
        await earlier.start("a100-0", launch())
    for plural in ("services", "secrets"):
        stray = copy.deepcopy(cluster.stored.list_all(plural)[0])
        del stray["metadata"]["ownerReferences"]
        stray["metadata"]["name"] = "stray"
        stray["metadata"]["labels"]["lorax-batch/server"] = "stray"
        cluster.stored.create(plural, stray)
    async with cluster.life(cluster.host()) as host:
        await cluster.until(lambda: not any("stray" in names for names in cluster.names().values()))
        assert all(len(names) == 1 for names in cluster.names().values())
        assert len(host.servers) == 1


async def test_another_fleet_in_the_namespace_is_left_alone(cluster: FakeCluster) -> None:
    other = cluster.host(fleet="other")
    async with cluster.life(other), cluster.life(cluster.host()) as host:
        await other.start("a100-0", launch())
        await host.start("a100-0", launch())
        await cluster.until(lambda: len(host.servers) == len(other.servers) == 1)
        await host.close()
        assert cluster.names()["deployments"] == ["lorax-other-a100-0"]
        assert len(other.servers) == 1


async def test_a_slow_life_does_not_bring_back_what_the_next_one_has_collected(cluster: FakeCluster) -> None:
    def collect() -> None:
        """Stand for the next life, which takes the start for an unfinished one."""
        cluster.stored.remove("deployments", cluster.stored.list_all("deployments")[0])

    cluster.api.before["PATCH", "deployments"] = collect
    async with cluster.life(cluster.host()) as slow:
        with pytest.raises(FleetError, match="uid mismatch"):
            await slow.start("a100-0", launch())
        await cluster.until(lambda: cluster.names() == NOTHING)
