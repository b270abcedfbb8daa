"""What Prometheus can ask of a process that delivers webhooks: read from its tally when somebody asks."""

from collections.abc import Iterator
from typing import Final

from lorax_batch_scheduler.telemetry.webhook_tally import WebhookTally
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX: Final = "lorax_batch_"
_STATES: Final = ("active", "failing", "disabled", "disabled_by_owner")


class WebhookCollector(Collector):
    """Tries of this process, and how all webhooks of the database are."""

    def __init__(self, tally: WebhookTally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        tally = self._tally
        tries = CounterMetricFamily(
            f"{_PREFIX}webhook_tries", "Tries to deliver a message, by what came of them.", labels=["outcome"]
        )
        for outcome, count in list(tally.tries.items()):
            tries.add_metric([outcome], count)
        yield tries
        yield HistogramMetricFamily(
            f"{_PREFIX}webhook_try_seconds",
            "Tries, until there was an answer or none.",
            buckets=tally.durations.cumulative(),
            sum_value=tally.durations.sum_s,
        )
        yield CounterMetricFamily(
            f"{_PREFIX}webhook_messages_given_up", "Messages that are not tried again.", value=tally.given_up
        )
        states = GaugeMetricFamily(f"{_PREFIX}webhooks", "Webhooks by how they are.", labels=["state"])
        for state in _STATES:
            states.add_metric([state], tally.sample.by_state.get(state, 0))
        yield states
        yield GaugeMetricFamily(
            f"{_PREFIX}webhook_oldest_seconds",
            "Age of the oldest state change that an active webhook has still to tell.",
            value=tally.sample.oldest_s,
        )
