"""One service at a time runs a fleet: the lease in the cluster."""

import asyncio

import pytest
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.errors import ConfigurationError, FleetError
from lorax_batch_scheduler.ports.server_host import LaunchState
from lorax_batch_scheduler.server_hosts.kubernetes import KubernetesHost
from lorax_batch_scheduler.server_hosts.kubernetes.fleet_lease import LEASE_S

from tests.kubernetes.cluster import FakeCluster, launch
from tests.kubernetes.fake_api import Fault


class LeapingClock(SystemClock):
    """Each sleep takes no time of ours and all of its own; `stands`: it sleeps for ever."""

    def __init__(self, *, stands: bool = False) -> None:
        self._ahead = 0.0
        self._stands = stands

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        if self._stands:
            await asyncio.Event().wait()
        self._ahead += seconds
        await asyncio.sleep(0.005)


def holder_of(cluster: FakeCluster) -> str:
    (lease,) = cluster.stored.list_all("leases")
    return str(lease["spec"]["holderIdentity"])


async def is_open(cluster: FakeCluster, host: KubernetesHost) -> None:
    """Return once a host takes starts."""
    server_id = await host.start("a100-0", launch())
    await cluster.until_state(host, server_id, LaunchState.UP)
    await host.stop(server_id)
    await cluster.until_state(host, server_id, LaunchState.GONE)


async def test_a_fleet_that_another_service_runs_is_an_error_that_names_it(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host(holder="first", clock=SystemClock())) as first:
        await is_open(cluster, first)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lorax_batch_scheduler.server_hosts.kubernetes.fleet_lease.PATIENCE_S", 0.0)
            with pytest.raises(ConfigurationError) as refused:
                await cluster.host(holder="second", clock=LeapingClock()).run(lambda: None)
        assert str(refused.value) == (
            "the fleet 'default' in the namespace 'batch' is run by another service, first: stop that one, or give "
            "this one a `fleet` of its own in [kubernetes]"
        )
        await is_open(cluster, first)


async def test_the_next_service_goes_on_at_once_when_one_ends(cluster: FakeCluster) -> None:
    async with cluster.life(cluster.host(holder="first", clock=SystemClock())) as first:
        await is_open(cluster, first)
        assert holder_of(cluster) == "first"
    assert holder_of(cluster) == ""
    async with cluster.life(cluster.host(holder="second", clock=SystemClock())) as second:
        await is_open(cluster, second)
        assert holder_of(cluster) == "second"


async def test_the_fleet_of_a_service_that_has_died_is_taken_when_its_lease_has_run_out(cluster: FakeCluster) -> None:
    dead = {"metadata": {"name": "lorax-default", "namespace": "batch"}, "spec": {"holderIdentity": "dead"}}
    cluster.stored.create("leases", dead)
    clock = LeapingClock()
    before = clock.monotonic()
    async with cluster.life(cluster.host(holder="next", clock=clock)) as host:
        await cluster.until(lambda: holder_of(cluster) == "next")
        assert clock.monotonic() - before > LEASE_S
        await is_open(cluster, host)


async def test_a_service_that_was_replaced_meanwhile_ends(cluster: FakeCluster) -> None:
    clock = LeapingClock()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ending_of(cluster.host(holder="slow", clock=clock)))
        await cluster.until(lambda: cluster.stored.list_all("leases"))
        (lease,) = cluster.stored.list_all("leases")
        cluster.stored.update("leases", {**lease, "spec": {"holderIdentity": "other"}})
    assert "another service, other, has taken over the fleet 'default'" in str(running.result())
    assert holder_of(cluster) == "other"


async def ending_of(host: KubernetesHost) -> FleetError:
    """Return why a host stops to run."""
    with pytest.RaisesGroup(pytest.RaisesExc(FleetError)) as ended:
        await host.run(lambda: None)
    (error,) = ended.value.exceptions
    assert isinstance(error, FleetError)
    return error


async def test_an_account_without_leases_is_told_what_it_needs(cluster: FakeCluster) -> None:
    cluster.api.faults.append(Fault(method="GET", plural="leases", status=403, reason="Forbidden"))
    with pytest.raises(ConfigurationError, match="needs to get, create and update leases"):
        await cluster.host(holder="first", clock=SystemClock()).run(lambda: None)


async def test_trouble_with_the_cluster_that_passes_costs_no_lease(cluster: FakeCluster) -> None:
    cluster.api.faults += [Fault(method="GET", plural="leases", status=500, times=2)]
    clock = LeapingClock()
    async with cluster.life(cluster.host(holder="first", clock=clock)) as host:
        await is_open(cluster, host)
        cluster.api.faults += [Fault(method="PUT", plural="leases", status=503, times=3)]
        await cluster.until(lambda: not cluster.api.faults)
        await is_open(cluster, host)
        assert holder_of(cluster) == "first"
