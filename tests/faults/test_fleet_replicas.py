"""The fleet over several processes: what one is told, all know, and watches go on where one dies."""

from collections.abc import Iterator

import pytest
from lorax_batch_client import FleetEvent, FleetSnapshot

from tests.end_to_end.poll import poll_until
from tests.faults.replicas import Replicas, client_of
from tests.faults.replicas import replicas as replicas
from tests.processes import Simulator

pytestmark = pytest.mark.timeout(60)


def follow(watch: Iterator[FleetEvent], fleet: FleetSnapshot, *, drained: bool) -> FleetSnapshot:
    """Follow a watch until its one slot is as it should be."""
    while [slot.drained for slot in fleet.slots] != [drained]:
        fleet = fleet.after(next(watch))
    return fleet


def test_a_drain_through_one_api_is_known_to_all_and_a_watch_goes_on_at_the_next(replicas: Replicas) -> None:
    with Simulator() as simulator:
        first, second, scheduler = replicas.make("api"), replicas.make("api"), replicas.make("scheduler", simulator.url)
        for each in (first, second, scheduler):
            each.begin()
        for each in (first, second, scheduler):
            each.wait_ready()
        with client_of(first, second) as watcher, second.client() as other, scheduler.client() as operator:
            (slot,) = poll_until(lambda: list(other.list_slots()), bool)
            watch = watcher.watch_fleet()
            fleet = follow(watch, FleetSnapshot(), drained=False)
            with first.client() as client:
                assert client.drain_slot(slot, reason="new driver").drained
            assert [one.drain_reason for one in other.list_slots()] == ["new driver"]
            fleet = follow(watch, fleet, drained=True)
            scheduler.wait_logged("slots_drained")
            first.kill()
            assert not operator.undrain_slot(slot).drained
            follow(watch, fleet, drained=False)
