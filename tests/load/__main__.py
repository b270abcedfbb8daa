"""`python -m tests.load`: the service under as much load as it is meant for; a table, and `build/load/report.json`.

Takes about fifteen minutes on two cores and 3 GB of disk. Ratios are measured side by side in one run; trust them, and
not the times, on a machine that does other things too. `--only NAME` runs one part.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.instant import build
from tests.load import flat_memory, polling, queueing, reading, watching

REPORT = Path("build") / "load" / "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One figure, and what it must be."""

    what: str
    measured: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def held(self) -> bool:
        """Whether the figure is as it must be; those without limit are only told."""
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )


Measured = tuple[list[dict[str, Any]], list[Bar]]


def memory() -> Measured:
    """Memory at 100 k and 1 M rows."""
    small, large = flat_memory.measure((100_000, 1_000_000))
    bars = [
        Bar(what=f"rows of {large.rows:,} that succeeded", measured=large.succeeded, at_least=large.rows),
        Bar(what="lines of its output file", measured=large.lines, at_least=large.rows, at_most=large.rows),
        Bar(what="calls of a row over both datasets", measured=large.most_calls_of_a_row, at_most=2),
        Bar(what=f"peak RSS MiB at {small.rows:,} rows", measured=small.service_mib),
        Bar(what=f"peak RSS MiB at {large.rows:,} rows", measured=large.service_mib),
        Bar(what="growth %, service", measured=_growth(small.service_mib, large.service_mib), at_most=20),
        Bar(what=f"PostgreSQL private MiB at {small.rows:,} rows", measured=small.postgres_mib),
        Bar(what=f"PostgreSQL private MiB at {large.rows:,} rows", measured=large.postgres_mib),
        Bar(what="growth %, PostgreSQL", measured=_growth(small.postgres_mib, large.postgres_mib), at_most=20),
        Bar(what="rows/s", measured=large.rows_per_second),
    ]
    return [asdict(small), asdict(large)], bars


def _growth(small: float, large: float) -> float:
    return (large / small - 1) * 100


def watchers() -> Measured:
    """2,000 watchers, of whom 50 read slowly and 50 not at all."""
    report = watching.measure(watching.WatchLoad(jobs=15, jobs_per_second=0.25))
    burst = watching.measure(watching.WatchLoad())
    bars = []
    for name, each in (("steady", report), ("burst", burst)):
        bars += [
            Bar(what=f"{name}: watchers", measured=each.watchers, at_least=2_000),
            Bar(what=f"{name}: state changes told to each", measured=each.state_changes),
            Bar(what=f"{name}: watchers told less, twice or out of order", measured=each.incomplete, at_most=0),
            Bar(what=f"{name}: delivery p50 ms", measured=each.p50_ms),
            Bar(what=f"{name}: delivery p99 ms", measured=each.p99_ms),
            Bar(what=f"{name}: MiB for open watches", measured=each.open_mib),
            Bar(what=f"{name}: MiB more while jobs ran", measured=each.grown_mib, at_most=64),
        ]
    return [asdict(report), asdict(burst)], bars


def queue() -> Measured:
    """500 jobs at once."""
    report = queueing.measure(500, 100)
    bars = [
        Bar(what="jobs that succeeded", measured=report.succeeded, at_least=report.jobs),
        Bar(what="rows done", measured=report.rows_done, at_least=report.rows, at_most=report.rows),
        Bar(what="s until all were accepted", measured=report.accept_s),
        Bar(what="CreateJob p99 ms", measured=report.accept_p99_ms),
        Bar(what="s until all had ended", measured=report.total_s),
        Bar(what="s, the longest from first row to end", measured=report.turn_max_s),
        Bar(what="most jobs that overtook an older one", measured=report.overtaken),
        Bar(what="ms for a plan of 500 jobs on 16 servers", measured=queueing.plan_ms(500), at_most=50),
        Bar(what="MiB more than before", measured=report.grown_mib, at_most=64),
    ]
    return [asdict(report)], bars


def readers() -> Measured:
    """StreamResults: readers who are slow or stop."""
    report = reading.measure(reading.ReadingLoad())
    bars = [
        Bar(what=f"times longer with {report.readers} bad readers", measured=report.times_longer, at_most=1.1),
        Bar(what="readers who had stopped half-way (all rounds)", measured=report.stuck, at_least=1),
        Bar(what="readers who got all rows at last", measured=report.complete, at_least=2 * report.readers),
        Bar(what="MiB more than without readers", measured=report.grown_mib, at_most=3 * report.readers),
    ]
    return [asdict(report)], bars


def polls() -> Measured:
    """Storms of GetJob and ListJobs."""
    reports, bars = [], []
    for method in polling.METHODS:
        for callers in (64, 512):
            report = polling.measure(method, polling.PollingLoad(servers=16, callers=callers))
            name = f"{method}, {2 * callers} callers"
            bars += [
                Bar(what=f"{name}: calls/s", measured=report.calls_per_second, at_least=500),
                Bar(what=f"{name}: p99 ms", measured=report.p99_ms),
                Bar(what=f"{name}: rows/s without", measured=report.quiet_rows_per_second),
                Bar(what=f"{name}: rows/s with", measured=report.stormy_rows_per_second),
                Bar(what=f"{name}: row rate kept", measured=report.row_rate_kept, at_least=0.8),
                Bar(what=f"{name}: answers older than one before", measured=report.backwards, at_most=0),
            ]
            reports.append(asdict(report))
    return reports, bars


PARTS: dict[str, Callable[[], Measured]] = {
    "memory": memory,
    "watchers": watchers,
    "queue": queue,
    "readers": readers,
    "polls": polls,
}


def show(title: str, bars: list[Bar]) -> None:
    """Print one table."""
    print(f"\n{title:<58}{'measured':>12}{'limit':>12}")
    for bar in bars:
        limit = f">= {bar.at_least:,.4g}" if bar.at_least is not None else ""
        limit = f"<= {bar.at_most:,.4g}" if bar.at_most is not None else limit
        print(f"{bar.what:<58}{bar.measured:>12,.6g}{limit:>12}{'' if bar.held else '   MISSED'}", flush=True)


def main() -> int:
    """Measure, print, write the report; return 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; may be given again")
    chosen = parser.parse_args().only or list(PARTS)
    build()
    report: dict[str, Any] = {"python": platform.python_version(), "cpus": os.cpu_count()}
    held = True
    for name in chosen:
        figures, bars = PARTS[name]()
        show(PARTS[name].__doc__ or name, bars)
        held = held and all(bar.held for bar in bars)
        report[name] = {"figures": figures, "bars": [asdict(bar) | {"held": bar.held} for bar in bars]}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {REPORT}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
