"""Counters, gauges and histograms as `/metrics` shows them, in Prometheus text and in JSON."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SECONDS_BUCKETS = tuple(0.00015 * 1.5**step for step in range(35))
_SIZE_BUCKETS = tuple(float(2**step) for step in range(11))

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Histogram:
    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Metrics:
    """All that one process has counted; a restart makes a new one, so its counters fall back to 0."""

    def __init__(self, *, max_input_length: int, max_total_tokens: int) -> None:
        self._counters: dict[str, dict[Labels, int]] = {}
        self._gauges: dict[str, float] = {}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {}
        self._bounds: Mapping[str, Sequence[float]] = {
            "lorax_request_input_length": _linear(max_input_length),
            "lorax_request_generated_tokens": _linear(max_total_tokens),
            "lorax_request_max_new_tokens": _linear(max_total_tokens),
            "lorax_batch_next_size": _SIZE_BUCKETS,
        }

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Add to a counter."""
        series = self._counters.setdefault(name, {})
        key = tuple(labels.items())
        series[key] = series.get(key, 0) + by

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[name] = value

    def observe(self, name: str, value: float, times: int = 1, **labels: str) -> None:
        """Add a value to a histogram, as often as `times` says."""
        series = self._histograms.setdefault(name, {})
        key = tuple(labels.items())
        histogram = series.get(key)
        if histogram is None:
            histogram = series[key] = _Histogram(self._bounds.get(name, SECONDS_BUCKETS))
        histogram.observe(value, times)

    def as_text(self) -> str:
        """Return the Prometheus exposition format."""
        lines: list[str] = []
        for name, counters in self._counters.items():
            lines.append(f"# TYPE {name} counter")
            lines += [f"{name}{_braces(key)} {value}" for key, value in counters.items()]
        for name, value in self._gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        for name, histograms in self._histograms.items():
            lines.append(f"# TYPE {name} histogram")
            for key, histogram in histograms.items():
                lines += _histogram_lines(name, key, histogram)
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, object]:
        """Return `{name: {"type": .., "data": [{"key": .., "value": ..}]}}`."""
        shown: dict[str, object] = {}
        for name, counters in self._counters.items():
            shown[name] = _family("counter", {_braces(key): value for key, value in counters.items()})
        for name, value in self._gauges.items():
            shown[name] = _family("gauge", {"": value})
        for name, histograms in self._histograms.items():
            data: dict[str, float] = {}
            for key, histogram in histograms.items():
                data[f"sum{_braces(key)}"] = histogram.total
                data[f"count{_braces(key)}"] = sum(histogram.counts)
            shown[name] = _family("histogram", data)
        return shown


def _linear(top: int) -> tuple[float, ...]:
    return tuple(top * step / 100 for step in range(1, 101))


def _family(kind: str, data: Mapping[str, float]) -> dict[str, object]:
    return {"type": kind, "data": [{"key": key, "value": value} for key, value in data.items()]}


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""


def _histogram_lines(name: str, labels: Labels, histogram: _Histogram) -> list[str]:
    lines: list[str] = []
    below = 0
    for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
        below += count
        le = "+Inf" if bound is None else f"{bound:g}"
        lines.append(f"{name}_bucket{_braces((*labels, ('le', le)))} {below}")
    lines += [f"{name}_sum{_braces(labels)} {histogram.total:g}", f"{name}_count{_braces(labels)} {below}"]
    return lines
