"""Prices of GPU kinds for bounds: any prices make a valid bound, so some rounds look for good ones."""

from collections.abc import Iterator, Mapping
from typing import Final

ROUNDS: Final = 200
STEP: Final = 0.1


def price_rounds(work: Mapping[str, Mapping[str, float]], counts: Mapping[str, float]) -> Iterator[dict[str, float]]:
    """Yield prices by kind: kinds with more than their part of the load become dearer from round to round."""
    prices = dict.fromkeys(counts, 1.0)
    for _ in range(ROUNDS if len(counts) > 1 else 1):
        yield dict(prices)
        load = dict.fromkeys(counts, 0.0)
        for by_kind in work.values():
            kind = min(by_kind, key=lambda kind: (by_kind[kind] * prices[kind], kind))
            load[kind] += by_kind[kind]
        levels = {kind: load[kind] / counts[kind] for kind in counts}
        mean = sum(levels.values()) / len(levels)
        if mean <= 0:
            return
        for kind in prices:
            prices[kind] *= 1 + STEP * max(min(levels[kind] / mean - 1, 1.0), -0.5)
