"""All metrics of a process that serves callers and runs jobs, with something in each."""

from datetime import UTC, datetime

from lorax_batch_scheduler.estimates.calibration import Coverage
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot, SlotStatus
from lorax_batch_scheduler.telemetry.fleet_sample import FleetSample, QueueSample
from lorax_batch_scheduler.telemetry.object_calls import ObjectCalls
from lorax_batch_scheduler.telemetry.tally import Tally
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookTally
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.scheduler_metrics import ObjectCallsCollector, SchedulerCollector
from lorax_batch_server.webhook_metrics import WebhookCollector
from prometheus_client import CollectorRegistry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SLOT = Slot(slot_id="gpu-0", kind="command")


def server(slot: Slot = SLOT, state: ServerState = ServerState.READY) -> ServerStatus:
    return ServerStatus(
        server_id=f"server-{slot.slot_id}-{state}",
        slot=slot,
        url="http://localhost:1",
        state=state,
        reason="",
        limits=None,
        base_model_id=None,
        in_flight=3,
        in_flight_limit=8,
        rows_per_second=2.5,
        tokens_per_second=100.0,
        warm_adapters=["a", "b"],
        row_latency_s=0.4,
        ready_time=None,
        update_time=NOW,
        adapter_loads=5,
    )


def slot_status(slot: Slot = SLOT, *, servers: tuple[str, ...] = (), starts: int = 2, failed: int = 1) -> SlotStatus:
    return SlotStatus(slot=slot, server_ids=servers, reason="", starts=starts, failed_starts=failed, update_time=NOW)


def full_registry() -> CollectorRegistry:
    """Return a registry as a process of the role `all` has it."""
    registry = CollectorRegistry()
    ApiMetrics(registry)
    tally = Tally()
    tally.retried("server_overloaded")
    tally.coverage = lambda: [Coverage(stage=0.5, ends=10, within=0.7, before=0.1, after=0.2, median_error=0.1)]
    calls = ObjectCalls()
    calls.add("get", "ok", 0.02)
    queue = QueueSample(family="f", model="m", jobs=1, rows=10, oldest_s=5.0)
    sample = FleetSample(servers=(server(),), slots=(slot_status(),), queues=(queue,))
    registry.register(SchedulerCollector(tally, lambda: sample))
    registry.register(ObjectCallsCollector(calls))
    registry.register(WebhookCollector(WebhookTally()))
    return registry


def sample_names(registry: CollectorRegistry) -> set[str]:
    """Return the names that can be asked for, without those that clients add for their own use."""
    return {
        sample.name
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
