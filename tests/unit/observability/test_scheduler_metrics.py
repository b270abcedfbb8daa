"""What Prometheus is told of a scheduler."""

from dataclasses import replace

import pytest
from lorax_batch_scheduler.fleet import ServerState, Slot
from lorax_batch_scheduler.ports.lease import ChunkResults
from lorax_batch_scheduler.telemetry.durations import Durations
from lorax_batch_scheduler.telemetry.fleet_sample import FleetSample
from lorax_batch_scheduler.telemetry.tally import MAX_REASONS, OTHER, Tally
from lorax_batch_server.scheduler_metrics import SchedulerCollector, SlotState
from prometheus_client import CollectorRegistry, generate_latest

from tests.unit.observability.registries import SLOT, full_registry, server, slot_status

RESULT = ChunkResults(
    job_id="job_1", chunk_no=0, epoch=1, row_count=4, done=15, unsuccessful=8, succeeded=3, failed=1, cancelled=0,
    expired=0, invalid=0, prompt_tokens=30, completion_tokens=70, errors=[], segments=[],
)  # fmt: skip


def registry_of(tally: Tally, sample: FleetSample | None = None) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(SchedulerCollector(tally, lambda: sample or FleetSample()))
    return registry


def test_a_commit_counts_its_rows_and_tokens() -> None:
    tally = Tally()
    tally.committed([RESULT, RESULT], 0.02, lost=1)
    registry = registry_of(tally)
    assert registry.get_sample_value("lorax_batch_rows_total", {"outcome": "succeeded"}) == 6
    assert registry.get_sample_value("lorax_batch_rows_total", {"outcome": "failed"}) == 2
    assert registry.get_sample_value("lorax_batch_tokens_total", {"kind": "completion"}) == 140
    assert registry.get_sample_value("lorax_batch_lost_chunks_total") == 1
    assert registry.get_sample_value("lorax_batch_commit_seconds_bucket", {"le": "0.01"}) == 0
    assert registry.get_sample_value("lorax_batch_commit_seconds_bucket", {"le": "0.025"}) == 1
    assert registry.get_sample_value("lorax_batch_commit_seconds_count") == 1


def test_reasons_of_retries_are_bounded() -> None:
    tally = Tally()
    for number in range(MAX_REASONS + 10):
        tally.retried(f"code_{number}")
    assert len(tally.retries) == MAX_REASONS + 1
    assert tally.retries[OTHER] == 10


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.0011, 30.0, 31.0])
def test_a_duration_is_in_exactly_one_bucket(seconds: float) -> None:
    durations = Durations()
    durations.add(seconds)
    (first, *_) = [bound for bound, count in durations.cumulative() if count]
    assert seconds <= float(first)
    assert durations.cumulative()[-1] == ("+Inf", 1)


STATES = [
    ((), (), False, SlotState.EMPTY),
    ((), (), True, SlotState.DRAINED),
    ((), ("server-1",), False, SlotState.STARTING),
    ((ServerState.STARTING,), ("server-1",), False, SlotState.STARTING),
    ((ServerState.SUSPECT,), ("server-1",), False, SlotState.SUSPECT),
    ((ServerState.DRAINING,), ("server-1",), True, SlotState.DRAINING),
    ((ServerState.READY, ServerState.DRAINING), ("server-1", "server-2"), False, SlotState.READY),
]


@pytest.mark.parametrize(("servers", "told", "drained", "expected"), STATES)
def test_a_slot_is_in_one_state(
    servers: tuple[ServerState, ...], told: tuple[str, ...], drained: bool, expected: SlotState
) -> None:
    sample = FleetSample(
        servers=tuple(server(state=state) for state in servers),
        slots=(slot_status(servers=told),),
        drained=frozenset({SLOT.slot_id} if drained else ()),
    )
    registry = registry_of(Tally(), sample)
    holding = {
        state
        for state in SlotState
        if registry.get_sample_value("lorax_batch_slot_state", {"slot": "gpu-0", "state": state})
    }
    assert holding == {expected}


def test_servers_of_a_slot_are_told_together() -> None:
    draining = replace(server(state=ServerState.DRAINING), in_flight=1)
    sample = FleetSample(servers=(server(), draining, server(Slot(slot_id="gpu-1", kind="command"))))
    registry = registry_of(Tally(), sample)
    assert registry.get_sample_value("lorax_batch_server_rows_in_flight", {"slot": "gpu-0"}) == 4
    assert registry.get_sample_value("lorax_batch_server_rows_in_flight", {"slot": "gpu-1"}) == 3
    assert registry.get_sample_value("lorax_batch_server_warm_adapters", {"slot": "gpu-1"}) == 2


def test_everything_can_be_written_for_prometheus() -> None:
    text = generate_latest(full_registry()).decode()
    assert 'lorax_batch_eta_within_band_ratio{stage="0.5"} 0.7' in text
    assert 'lorax_batch_object_store_seconds_bucket{le="0.025",operation="get",outcome="ok"} 1.0' in text
