"""The table of figures beside their targets."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from lorax_batch_scheduler.replay.measures import Measures

_Figure = Callable[[Collection[Measures]], float]


def _mean(name: str) -> _Figure:
    return lambda found: sum(getattr(each, name) for each in found) / len(found)


ROWS: Final[list[tuple[str, str, str, _Figure]]] = [
    ("makespan / bound, mean", "<= 1.10", ".2f", _mean("makespan_ratio")),
    ("makespan / bound, worst trace", "<= 1.20", ".2f", lambda found: max(each.makespan_ratio for each in found)),
    ("mean flow / bound, mean", "<= 2.3", ".2f", _mean("flow_ratio")),
    ("p95 slowdown, mean", "<= 28", ".1f", _mean("p95_slowdown")),
    ("avoidable deadline misses, sum", "0", ".0f", lambda found: sum(each.avoidable_misses for each in found)),
    ("Jain fairness, mean", ">= 0.99", ".3f", _mean("jain")),
    ("worst tenant's share, mean of traces", ">= 0.62", ".2f", _mean("worst_tenant")),
    ("worst tenant's share, worst trace", "", ".2f", lambda found: min(each.worst_tenant for each in found)),
    ("GPU time / ideal, mean", "<= 1.25", ".2f", _mean("gpu_ratio")),
    ("cold starts, sum", "", ".0f", lambda found: sum(each.cold_starts for each in found)),
]


def table(found: Mapping[str, Mapping[str, Measures]], plan_ms: Mapping[int, float]) -> str:
    """Return the table in Markdown: a row a figure, a column a policy. `plan_ms`: by the number of families."""
    lines = [f"| what | target | {' | '.join(found)} |", "|---|---|" + "---|" * len(found)]
    for name, target, form, figure in ROWS:
        cells = (format(figure(by.values()), form) for by in found.values())
        lines.append(f"| {name} | {target} | {' | '.join(cells)} |")
    if all("zipf_adapters" in by for by in found.values()):
        loads = (f"{by['zipf_adapters'].adapter_loads}" for by in found.values())
        lines.append(f"| adapter loads, Zipf trace | <= 2,000 | {' | '.join(loads)} |")
    rest = " | " * (len(found) - 1)
    for families, taken in plan_ms.items():
        lines.append(f"| plan of 1,000 jobs of {families:,} families x 100 slots, ms | <= 50 | {taken:.1f}{rest} |")
    return "\n".join(lines)
