"""The life of a server in a cluster, as its host tells it."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress

import pytest
from lorax_batch_scheduler.errors import FleetError, SlotOccupiedError
from lorax_batch_scheduler.ports.server_host import LaunchState, ServerHost
from lorax_batch_scheduler.server_hosts.kubernetes import host as host_module

from tests.kubernetes.cluster import MODEL, NOTHING, FakeCluster, fleet_table, launch, server_of
from tests.kubernetes.fake_api import Fault


async def test_a_started_server_is_up_at_the_address_of_its_service(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        server = await cluster.until_state(host, server_id, LaunchState.UP)
        assert server.url == f"http://{server_id}.batch.svc:8000"
        assert (server.slot_id, server.family, server.model) == ("a100-0", "f00d", MODEL)
        assert server.start_time is not None
        assert cluster.names()["services"] == cluster.names()["secrets"] == [server_id]


async def test_a_stop_deletes_all_three_objects_and_frees_the_slot(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        await host.stop(server_id)
        server = await cluster.until_state(host, server_id, LaunchState.GONE)
        assert (server.reason, server.url) == ("it was told to end", "")
        assert cluster.names() == NOTHING
        second = await host.start("a100-0", launch())
        await cluster.until_state(host, second, LaunchState.UP)
        assert second != server_id


async def test_a_slot_is_taken_until_the_pod_has_ended(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.kubelet.holds_ends = True
        await host.stop(server_id)
        await cluster.until(lambda: "deletionTimestamp" in cluster.kubelet.pod(server_id)["metadata"])
        assert server_of(host, server_id).state is LaunchState.STOPPING
        with pytest.raises(SlotOccupiedError, match=server_id):
            await host.start("a100-0", launch())
        cluster.kubelet.release()
        await cluster.until_state(host, server_id, LaunchState.GONE)


async def test_two_starts_on_one_slot_give_one_server(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(host.start("a100-0", launch()))
            second = group.create_task(refused_start(host))
        assert await second == await first


async def test_a_slot_that_another_service_has_taken_is_occupied(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as one, cluster.life(cluster.host()) as other:
        await other.start("a100-1", launch())  # both are connected
        await cluster.until(lambda: one.servers)
        cluster.kubelet.holds_starts = True
        server_id = await one.start("a100-0", launch())
        with pytest.raises(SlotOccupiedError, match=server_id):
            await other.start("a100-0", launch())


async def test_an_unknown_slot_is_an_error_and_an_unknown_server_is_not(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        with pytest.raises(FleetError, match="no slot h100-0"):
            await host.start("h100-0", launch())
        await host.stop("nobody")


@pytest.mark.parametrize(
    ("method", "plural", "status"),
    [
        ("POST", "deployments", 403),
        ("PATCH", "secrets", 403),
        ("PATCH", "services", 422),
        ("PATCH", "deployments", 403),
    ],
)
async def test_a_refused_start_leaves_nothing(cluster: FakeCluster, method: str, plural: str, status: int) -> None:
    cluster.api.faults.append(Fault(method=method, plural=plural, status=status, message="exceeded quota"))
    async with cluster.life(cluster.host()) as host:
        with pytest.raises(FleetError, match=r"slot a100-0: can't start .*exceeded quota") as caught:
            await host.start("a100-0", launch())
        assert "hf_secret" not in str(caught.value)
        await cluster.until(lambda: cluster.names() == NOTHING)
        await cluster.until(lambda: not living(host))
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


@pytest.mark.parametrize("after", [False, True], ids=["refused", "done but not told"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("method", "plural"), [("POST", "deployments"), ("PATCH", "services")])
async def test_a_start_survives_trouble_that_passes(
    cluster: FakeCluster, method: str, plural: str, status: int, after: bool
) -> None:
    cluster.api.faults.append(Fault(method=method, plural=plural, status=status, after=after))
    async with cluster.life(cluster.host()) as host:
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)
        assert not cluster.api.faults


async def test_an_apply_in_conflict_is_tried_again(cluster: FakeCluster) -> None:
    fault = Fault(method="PATCH", plural="deployments", status=409, reason="Conflict", times=2)
    cluster.api.faults.append(fault)
    async with cluster.life(cluster.host()) as host:
        await cluster.until_state(host, await host.start("a100-0", launch()), LaunchState.UP)


async def test_a_server_stopped_while_it_is_started_is_not_brought_back(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host, asyncio.TaskGroup() as group:
        start = group.create_task(ending_of(host.start("a100-0", launch())))
        await cluster.until(lambda: living(host))
        await host.stop(living(host)[0])
        await start
        await cluster.until(lambda: not living(host))
        await cluster.until(lambda: cluster.names() == NOTHING)


async def test_a_cancelled_start_leaves_nothing(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host, asyncio.TaskGroup() as group:
        start = group.create_task(host.start("a100-0", launch()))
        await cluster.until(lambda: cluster.names()["secrets"])
        start.cancel()
        await cluster.until(lambda: cluster.names() == NOTHING)
        await cluster.until(lambda: not living(host))


async def test_a_deletion_that_fails_is_tried_until_it_succeeds(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.api.faults += [
            Fault(method="DELETE", plural="secrets", status=403, times=2),
            Fault(method="DELETE", plural="deployments", status=503, times=6),
        ]
        await host.stop(server_id)
        await cluster.until_state(host, server_id, LaunchState.GONE)
        assert cluster.names() == NOTHING


async def test_a_server_that_somebody_else_deletes_is_gone(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host()) as host:
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        cluster.stored.remove("deployments", cluster.stored.list_all("deployments")[0])
        server = await cluster.until_state(host, server_id, LaunchState.GONE)
        assert server.reason == "somebody else has deleted its Deployment"
        await cluster.until(lambda: cluster.names() == NOTHING)


async def test_close_ends_all_servers_whether_the_host_runs_or_not(cluster: FakeCluster) -> None:
    host = cluster.host()
    async with cluster.life(host):
        for slot in host.slots:
            await host.start(slot.slot_id, launch())
        await host.close()
        assert cluster.names() == NOTHING
        await host.start("a100-0", launch())
    assert cluster.names()["deployments"]
    await host.close()
    assert cluster.names() == NOTHING
    await host.close()


@pytest.mark.parametrize("runs", [True, False], ids=["running", "not running"])
async def test_close_names_the_servers_that_do_not_end(
    cluster: FakeCluster, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "DELETE_TIMEOUT_S", -0.9)
    host = cluster.host(stop_grace_s=1)
    cluster.kubelet.holds_ends = True
    async with AsyncExitStack() as life:
        await life.enter_async_context(cluster.life(host))
        server_id = await host.start("a100-0", launch())
        await cluster.until_state(host, server_id, LaunchState.UP)
        if not runs:
            await life.aclose()
        with pytest.raises(FleetError, match=f"servers are still there: {server_id}"):
            await host.close()


async def test_a_host_is_what_the_port_says(cluster: FakeCluster) -> None:
    slots = [*fleet_table()["slots"], {"class": "l4", "count": 1, "memory_gib": 24, "gpu_count": 2}]
    host: ServerHost = cluster.host(slots=slots, data_claim="weights")
    assert host.kind == "kubernetes"
    assert [slot.slot_id for slot in host.slots] == ["a100-0", "a100-1", "l4-0"]
    assert [slot.memory_bytes >> 30 for slot in host.slots] == [80, 80, 48]
    assert {slot.node for slot in host.slots} == {"claim/weights"}
    assert not any(slot.is_fixed for slot in host.slots)


def living(host: ServerHost) -> list[str]:
    return [server.server_id for server in host.servers if server.state is not LaunchState.GONE]


async def refused_start(host: ServerHost) -> str:
    """Return what has the slot."""
    with pytest.raises(SlotOccupiedError) as caught:
        await host.start("a100-0", launch())
    return str(caught.value).split()[4]


async def ending_of(start: Awaitable[str]) -> None:
    """Let a start fail, or succeed just before it is undone."""
    with suppress(FleetError):
        await start
