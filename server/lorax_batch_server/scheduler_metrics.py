"""What Prometheus can ask of a scheduler: read from its tally and its last sample when somebody asks, never pushed.

Labels are slots (from the configuration), error codes and states (closed sets), and at most 20 server configurations;
never jobs, datasets, rows or adapters.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Final

from lorax_batch_scheduler.fleet import ServerState, ServerStatus, SlotStatus
from lorax_batch_scheduler.telemetry.durations import Durations
from lorax_batch_scheduler.telemetry.fleet_sample import FleetSample
from lorax_batch_scheduler.telemetry.object_calls import ObjectCalls
from lorax_batch_scheduler.telemetry.tally import Tally
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX: Final = "lorax_batch_"


class SlotState(StrEnum):
    """What a slot is good for right now; one of these holds."""

    EMPTY = "empty"
    STARTING = "starting"
    READY = "ready"
    SUSPECT = "suspect"
    UNREACHABLE = "unreachable"
    DRAINING = "draining"
    DRAINED = "drained"


OF_SERVER: Final = {
    ServerState.STARTING: SlotState.STARTING,
    ServerState.READY: SlotState.READY,
    ServerState.SUSPECT: SlotState.SUSPECT,
    ServerState.UNREACHABLE: SlotState.UNREACHABLE,
    ServerState.DRAINING: SlotState.DRAINING,
    ServerState.DRAINED: SlotState.DRAINED,
}


class SchedulerCollector(Collector):
    """The tally and the fleet of one scheduler as metrics."""

    def __init__(self, tally: Tally, sample: Callable[[], FleetSample]) -> None:
        """`sample`: the latest; called from the thread that answers Prometheus."""
        self._tally = tally
        self._sample = sample

    def collect(self) -> Iterator[Metric]:
        yield from _counts(self._tally)
        yield from _calibration(self._tally)
        sample = self._sample()
        yield from _slots(sample)
        yield from _servers(sample.servers)
        yield from _queues(sample)


class ObjectCallsCollector(Collector):
    """Calls to the object store as a histogram by operation and outcome."""

    def __init__(self, calls: ObjectCalls) -> None:
        self._calls = calls

    def collect(self) -> Iterator[Metric]:
        text = "Calls to the object store."
        family = HistogramMetricFamily(f"{PREFIX}object_store_seconds", text, labels=["operation", "outcome"])
        for kind, durations in self._calls.items():
            family.add_metric([*kind], durations.cumulative(), durations.sum_s)
        yield family


def _counts(tally: Tally) -> Iterator[Metric]:
    yield _by("rows", "Results committed.", "outcome", tally.rows.items())
    yield _by("tokens", "Tokens of committed results.", "kind", tally.tokens.items())
    yield _by("retries", "Rows sent again, by the error they had.", "reason", tally.retries.items())
    yield _histogram("commit_seconds", "Commits of results to PostgreSQL.", tally.commits)
    yield _histogram("plan_seconds", "Plans of which servers run where.", tally.plans)
    yield _count("lost_chunks", "Chunks whose results somebody else stores.", tally.chunks_lost)
    yield _count("lost_leases", "Leases of this scheduler that ran out.", tally.leases_lost)
    yield _by("ingested_datasets", "Datasets checked.", "outcome", tally.datasets.items())
    yield _count("ingested_bytes", "Bytes of datasets read.", tally.ingested_bytes)
    yield _count("ingested_rows", "Rows of datasets checked.", tally.ingested_rows)


def _calibration(tally: Tally) -> Iterator[Metric]:
    share = _gauge("eta_within_band_ratio", "Ends of jobs within the band foretold; 0.8 is wanted.", "stage")
    ends = _gauge("eta_scored_ends", "Ends that the ratio is told from, the last 1,000.", "stage")
    for coverage in tally.coverage():
        share.add_metric([f"{coverage.stage:g}"], coverage.within)
        ends.add_metric([f"{coverage.stage:g}"], coverage.ends)
    yield share
    yield ends


def _slots(sample: FleetSample) -> Iterator[Metric]:
    states = _gauge("slot_state", "1 for the state that a slot is in.", "slot", "state")
    starts = _counter("server_starts", "Servers started on a slot.", "slot")
    failures = _counter("server_start_failures", "Starts on a slot that failed.", "slot")
    for slot in sample.slots:
        name = slot.slot.slot_id
        current = _slot_state(slot, sample)
        for state in SlotState:
            states.add_metric([name, state], float(state is current))
        starts.add_metric([name], slot.starts)
        failures.add_metric([name], slot.failed_starts)
    yield from (states, starts, failures)


def _slot_state(slot: SlotStatus, sample: FleetSample) -> SlotState:
    on_it = [OF_SERVER[server.state] for server in sample.servers if server.slot.slot_id == slot.slot.slot_id]
    if on_it:
        # A server that leaves while its follower starts: the better one says what the slot is good for.
        return SlotState.READY if SlotState.READY in on_it else on_it[-1]
    if slot.slot.slot_id in sample.drained:
        return SlotState.DRAINED
    return SlotState.STARTING if slot.server_ids else SlotState.EMPTY


def _servers(servers: Iterable[ServerStatus]) -> Iterator[Metric]:
    """Told by slot, which stays while servers come and go."""
    in_flight = _gauge("server_rows_in_flight", "Rows in flight on the server of a slot.", "slot")
    limit = _gauge("server_in_flight_limit", "Rows that may be in flight on it.", "slot")
    rows = _gauge("server_rows_per_second", "Rows that it answers a second.", "slot")
    tokens = _gauge("server_tokens_per_second", "Tokens that it generates a second.", "slot")
    latency = _gauge("server_row_latency_seconds", "Median of its last rows.", "slot")
    warm = _gauge("server_warm_adapters", "Adapters that it has loaded, as far as known.", "slot")
    loads = _counter("adapter_loads", "Adapters loaded for a first row.", "slot")
    by_slot: defaultdict[str, list[ServerStatus]] = defaultdict(list)
    for server in servers:
        by_slot[server.slot.slot_id].append(server)
    for slot, on_it in by_slot.items():
        in_flight.add_metric([slot], sum(each.in_flight for each in on_it))
        limit.add_metric([slot], sum(each.in_flight_limit for each in on_it))
        rows.add_metric([slot], sum(each.rows_per_second for each in on_it))
        tokens.add_metric([slot], sum(each.tokens_per_second for each in on_it))
        latency.add_metric([slot], max(each.row_latency_s or 0.0 for each in on_it))
        warm.add_metric([slot], sum(len(each.warm_adapters) for each in on_it))
        loads.add_metric([slot], sum(each.adapter_loads for each in on_it))
    yield from (in_flight, limit, rows, tokens, latency, warm, loads)


def _queues(sample: FleetSample) -> Iterator[Metric]:
    jobs = _gauge("queue_jobs", "Unfinished jobs that may run.", "family", "model")
    rows = _gauge("queue_rows", "Their rows that no server was given.", "family", "model")
    oldest = _gauge("queue_oldest_seconds", "Age of the oldest job that waits for its first row.", "family", "model")
    for queue in sample.queues:
        labels = [queue.family, queue.model]
        jobs.add_metric(labels, queue.jobs)
        rows.add_metric(labels, queue.rows)
        oldest.add_metric(labels, queue.oldest_s)
    yield from (jobs, rows, oldest)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


def _count(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _by(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> CounterMetricFamily:
    family = _counter(name, text, label)
    for key, value in list(values):
        family.add_metric([key], value)
    return family


def _histogram(name: str, text: str, durations: Durations) -> HistogramMetricFamily:
    buckets = durations.cumulative()
    return HistogramMetricFamily(PREFIX + name, text, buckets=buckets, sum_value=durations.sum_s)
