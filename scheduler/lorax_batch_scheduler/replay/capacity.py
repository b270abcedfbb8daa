"""How much work slots can do until a moment at most: none before a first server is ready, none while a slot is away."""

import itertools
from collections.abc import Mapping

from lorax_batch_scheduler.replay.server_model import ServerModels
from lorax_batch_scheduler.replay.trace import Trace, TraceSlot


class Capacity:
    """Of each GPU kind, in seconds of a slot that is as fast as its kind."""

    def __init__(self, trace: Trace, servers: ServerModels) -> None:
        self._first_arrival = min(job.arrival_s for job in trace.jobs)
        self._slots = [(slot, self._shut(trace, servers, slot)) for slot in trace.slots]
        self.moments = sorted({time for _, shut in self._slots for span in shut for time in span})
        """When it changes."""

    def rates(self, time: float) -> dict[str, float]:
        """Return the speeds at a moment, added up by kind."""
        rates: dict[str, float] = {}
        for slot, shut in self._slots:
            is_open = not any(start <= time < end for start, end in shut)
            rates[slot.kind] = rates.get(slot.kind, 0.0) + slot.speed * is_open
        return rates

    def done_at(self, cost: float, prices: Mapping[str, float], *, after: float) -> float:
        """Return when work of so much cost is done at the earliest; a kind's second costs its price."""
        now = after
        for moment in [*(each for each in self.moments if each > after), float("inf")]:
            rate = sum(prices[kind] * speed for kind, speed in self.rates(now).items())
            if rate > 0 and now + cost / rate <= moment:
                return now + cost / rate
            cost -= rate * (moment - now) if moment < float("inf") else 0.0
            now = moment
        return now

    def done_by(self, until: float, prices: Mapping[str, float], *, after: float) -> float:
        """Return the cost of the work that can be done from `after` to `until`."""
        borders = [after, *(each for each in self.moments if after < each < until), until]
        return sum(
            (end - start) * sum(prices[kind] * speed for kind, speed in self.rates(start).items())
            for start, end in itertools.pairwise(borders)
        )

    def _shut(self, trace: Trace, servers: ServerModels, slot: TraceSlot) -> list[tuple[float, float]]:
        """Return when no server can work on a slot: until a start after the first arrival, while away, and a start
        after each time away. A node's first start has to fetch weights."""
        wanted = {job.family for job in trace.jobs}
        made = [(family, model) for family in wanted if (model := servers.on_slot(family, slot)) is not None]
        if not made:
            return [(0.0, float("inf"))]
        again = min(model.cold_start_s for _, model in made)
        first = min(model.cold_start_s + servers.download_s(family) for family, model in made)
        failures = [failure for failure in trace.failures if failure.slot == slot.id]
        return [
            (0.0, self._first_arrival + first),
            *((failure.time_s, failure.time_s + failure.duration_s + again) for failure in failures),
        ]
