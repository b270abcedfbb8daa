"""Following a cluster: versions, bookmarks, expiry, broken connections."""

import asyncio
from itertools import pairwise

import pytest
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import WATCH_S
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_call import SILENCE_S
from structlog.testing import capture_logs

from tests.kubernetes.cluster import FakeCluster, QuickClock, launch
from tests.kubernetes.fake_api import NO_ANSWER, Fault

WATCHED = 2  # Deployments and pods


def lists(cluster: FakeCluster) -> int:
    """Return how often Deployments were listed."""
    return cluster.api.calls.count(("GET", "deployments"))


async def watching(cluster: FakeCluster, begun: int) -> None:
    """Return when as many watches have begun, and two go on."""
    await cluster.until(lambda: cluster.api.served >= begun and cluster.api.watches == WATCHED)


async def test_a_cut_watch_goes_on_from_its_version_without_a_list(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        served = cluster.api.served
        cluster.api.cut_watches()
        cluster.kubelet.set_waiting(server_id, "ImagePullBackOff")  # while nobody watches
        await cluster.until_reason(host, server_id, "ImagePullBackOff")
        await watching(cluster, served + WATCHED)
        assert lists(cluster) == 1


@pytest.mark.parametrize("by_status", [False, True], ids=["as an event", "as a status"])
async def test_an_expired_version_means_a_new_list(cluster: FakeCluster, by_status: bool) -> None:
    cluster.api.expired_by_status = by_status
    async with cluster.life(cluster.host()) as host:
        kept = await host.start("a100-0", launch())
        lost = await host.start("a100-1", launch())
        await cluster.until_state(host, kept, LaunchState.UP)
        await cluster.until_state(host, lost, LaunchState.UP)
        cluster.api.cut_watches()
        deployment = cluster.stored.get("deployments", "batch", "lorax-default-a100-1")
        assert deployment is not None
        cluster.stored.remove("deployments", deployment)
        cluster.stored.forget_history()
        server = await cluster.until_state(host, lost, LaunchState.GONE)
        assert server.reason == "somebody else has deleted its Deployment"
        await cluster.until_state(host, kept, LaunchState.UP)
        assert lists(cluster) == 2


async def test_a_server_made_and_deleted_between_two_lists_is_gone(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        await watching(cluster, WATCHED)
        cluster.api.faults.append(Fault(method="GET", plural="deployments", status=500, times=10_000, watches=True))
        cluster.api.cut_watches()
        server_id = await host.start("a100-0", launch())
        cluster.stored.remove("deployments", cluster.stored.list_all("deployments")[0])
        cluster.stored.forget_history()
        await cluster.until_state(host, server_id, LaunchState.GONE)


async def test_a_watch_of_which_nothing_comes_is_ended_by_the_cluster_and_goes_on_at_once(cluster: FakeCluster) -> None:
    """An API sends no bookmarks while nothing changes, so silence alone is no failure."""
    assert WATCH_S < SILENCE_S
    clock = QuickClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lorax_batch_scheduler.server_hosts.kubernetes.cluster_api.WATCH_S", 0.05)
        async with cluster.life(cluster.host(clock=clock)):
            await cluster.until(lambda: cluster.api.served >= 4 * WATCHED)
    assert (lists(cluster), clock.slept) == (1, [])


async def test_an_expired_version_is_no_reason_to_wait_after_an_outage(cluster: FakeCluster) -> None:
    """An API that starts anew has forgotten all versions."""
    with capture_logs() as told:
        async with cluster.life(cluster.host()):
            await watching(cluster, WATCHED)
            cluster.api.expired_by_status = True
            cluster.api.faults.append(
                Fault(method="GET", plural="deployments", status=NO_ANSWER, times=3, watches=True)
            )
            cluster.api.cut_watches()
            cluster.stored.forget_history()
            await watching(cluster, 2 * WATCHED)
            assert lists(cluster) == 2
    errors = [event["error"] for event in told if event["event"] == "kubernetes_watch_failed"]
    assert len(errors) > WATCHED
    assert not [error for error in errors if "410" in error]


async def test_a_bookmark_keeps_a_quiet_watch_from_expiring(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        await watching(cluster, WATCHED)
        assert all(it.query["allowWatchBookmarks"] == "true" for it in cluster.api.requests if "watch" in it.query)
        cluster.stored.forget_history()
        await cluster.api.send_bookmarks()
        version = str(cluster.stored.version)
        cluster.api.cut_watches()
        await watching(cluster, 2 * WATCHED)
        assert [it.query["resourceVersion"] for it in cluster.api.requests if "watch" in it.query][-WATCHED:] == [
            version,
            version,
        ]
        assert lists(cluster) == 1
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


async def test_another_error_in_a_watch_means_a_list_after_a_pause(cluster: FakeCluster) -> None:
    clock = QuickClock()
    async with cluster.life(cluster.host(clock=clock)) as host:
        await watching(cluster, WATCHED)
        await cluster.api.send_error(500, "InternalError")
        await watching(cluster, 2 * WATCHED)
        assert lists(cluster) == 2
        assert len(clock.slept) == WATCHED
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


async def test_a_cluster_that_fails_is_asked_ever_less_often(cluster: FakeCluster) -> None:
    clock = QuickClock()
    async with cluster.life(cluster.host(clock=clock)):
        await watching(cluster, WATCHED)
        for plural in ("deployments", "pods"):
            cluster.api.faults.append(Fault(method="GET", plural=plural, status=403, times=12, watches=True))
        cluster.api.cut_watches()
        await watching(cluster, 2 * WATCHED)
        assert max(clock.slept) <= 30.0
        assert sorted(clock.slept)[-1] > 14.0
        assert min(clock.slept) >= 0.25


async def test_the_host_waits_for_a_cluster_that_does_not_answer_yet(cluster: FakeCluster) -> None:
    for plural in ("services", "deployments", "pods"):
        cluster.api.faults.append(Fault(method="GET", plural=plural, status=503, times=9))
    async with cluster.life(cluster.host()) as host:
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


async def test_a_token_that_has_ended_is_read_anew(cluster: FakeCluster) -> None:
    cluster.api.tokens = {"a-token"}
    async with cluster.life(cluster.host()) as host:
        await watching(cluster, WATCHED)
        cluster.api.tokens = {"another-token"}
        cluster.write_kubeconfig("another-token")
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


async def test_a_change_that_says_nothing_new_is_not_told(cluster: FakeCluster) -> None:
    host = cluster.host()
    told: list[list[LaunchedServer]] = []

    def tell() -> None:
        told.append(list(host.servers))
        cluster.stored.wake()

    async with asyncio.TaskGroup() as group:
        life = group.create_task(host.run(tell))
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.stored.update("pods", cluster.kubelet.pod(server_id))  # a new version of the same
        cluster.kubelet.set_waiting(server_id, "ImagePullBackOff")
        await cluster.until_reason(host, server_id, "ImagePullBackOff")
        life.cancel()
    assert all(before != after for before, after in pairwise(told))
