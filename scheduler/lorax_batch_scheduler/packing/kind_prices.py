"""Prices of GPU kinds: they keep a kind for the families that gain most from it."""

from collections.abc import Mapping
from typing import Final

from lorax_batch_scheduler.packing.cluster import ClusterView

ROUNDS: Final = 30
STEP: Final = 0.15


def kind_prices(view: ClusterView, kinds: Mapping[str, int]) -> dict[str, float]:
    """Return a price for each kind, found by a few rounds of load balancing.

    In each round every family's work goes where work x price is least; kinds with more than their part of the load
    become dearer. With one kind the price is 1.
    """
    if len(kinds) < 2:
        return dict.fromkeys(kinds, 1.0)
    work = _family_work(view, kinds)
    prices = dict.fromkeys(kinds, 1.0)
    for _ in range(ROUNDS):
        load = dict.fromkeys(kinds, 0.0)
        for by_kind in work.values():
            chosen = min(by_kind, key=lambda kind: (by_kind[kind] * prices[kind], kind))
            load[chosen] += by_kind[chosen]
        levels = {kind: load[kind] / kinds[kind] for kind in kinds}
        mean = sum(levels.values()) / len(levels)
        if mean <= 0:
            break
        for kind in kinds:
            prices[kind] *= 1 + STEP * max(min(levels[kind] / mean - 1, 1.0), -0.5)
    total = sum(prices.values())
    return {kind: price * len(prices) / total for kind, price in prices.items()}


def _family_work(view: ClusterView, kinds: Mapping[str, int]) -> dict[str, dict[str, float]]:
    work: dict[str, dict[str, float]] = {}
    for job in view.jobs:
        of_family = work.setdefault(job.family_id, {})
        for kind, seconds in job.work_s.items():
            if kind in kinds:
                of_family[kind] = of_family.get(kind, 0.0) + seconds
    return {family: by_kind for family, by_kind in work.items() if by_kind}
