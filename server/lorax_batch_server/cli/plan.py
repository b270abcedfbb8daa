"""`lorax-batch plan`."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json, print_table, show_count
from lorax_batch_server.cli.output_file import check_place, write_whole
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.printable import printable

if TYPE_CHECKING:
    from lorax_batch_scheduler.replay import PolicyRun, Report, Trace

MISSES_SHOWN: Final = 10
STANDARD_INPUT: Final = "-"
QUIET_S: Final = 2.0
"""A replay that is over sooner shows nothing of its progress."""
SHOW_EVERY_S: Final = 0.5
MANY_JOBS: Final = 20_000
"""Their lower bounds alone take seconds."""
CLEAR_LINE: Final = "\x1b[K"
LABELS: Final = (
    "makespan",
    "  against its lower bound",
    "mean flow time",
    "  against its lower bound",
    "p95 slowdown",
    "deadlines missed",
    "  that could be met",
    "fairness (Jain)",
    "  worst tenant's share",
    "cold starts",
    "adapter loads",
    "GPU-seconds used",
    "  wasted",
    "  against the ideal",
    "time of one plan",
)


def plan(
    trace: Annotated[Path, typer.Argument(metavar="TRACE.json", help="A trace; `-` reads standard input.")],
    policy: Annotated[
        list[str], typer.Option(help="May be repeated: side by side; `all` for each.  [default: setup_aware_fair]")
    ] = [],
    as_json: JsonOption = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw slots and jobs over time.")] = None,
) -> None:
    """Replay a trace of jobs in virtual time: how the planner would have run it, against what no schedule can beat.

    The trace's format is described in docs/trace-format.md; `jobs record` writes one from a service's history.
    """
    from lorax_batch_scheduler.errors import InvalidInputError
    from lorax_batch_scheduler.replay import POLICIES, compare_policies
    from lorax_batch_scheduler.replay.report import SERVICE_POLICY, report_fields

    if plot is not None:
        check_place(plot, "--plot")
    names = list(POLICIES) if "all" in policy else policy or [SERVICE_POLICY]
    try:
        read = read_trace(trace)
        with _progress(len(read.jobs)) as on_progress:
            report = compare_policies(read, names, on_progress=on_progress)
    except InvalidInputError as error:
        option = "--" if error.field == "policy" else ""
        raise CommandError(f"{option}{error}") from error
    if plot is not None:
        from lorax_batch_scheduler.replay.plot import plot_report

        write_whole(plot, plot_report(report), "--plot")
    if as_json:
        print_json(report_fields(report))
    else:
        _print_report(report)


@contextmanager
def _progress(job_count: int) -> "Iterator[Callable[[str, int], None]]":
    """Yield what shows on a terminal how far a long replay is, on one line that is gone at the end."""
    began = shown = time.monotonic()

    def show(policy: str, ended: int) -> None:
        nonlocal shown
        now = time.monotonic()
        is_due = now - began > QUIET_S and now - shown > SHOW_EVERY_S if policy else job_count >= MANY_JOBS
        if sys.stderr.isatty() and is_due:
            shown = now
            told = f"{policy}: {ended:,} of {job_count:,} jobs ended" if policy else "computing what no schedule beats"
            typer.echo(f"\r{told}{CLEAR_LINE}", err=True, nl=False)

    try:
        yield show
    finally:
        if shown > began:
            typer.echo(f"\r{CLEAR_LINE}", err=True, nl=False)


def read_trace(path: Path) -> "Trace":
    """Return the trace of a file, or of standard input. Raises `InvalidInputError`."""
    from lorax_batch_scheduler.replay import load_trace, parse_trace
    from lorax_batch_scheduler.replay.trace_file import MAX_BYTES

    return parse_trace(sys.stdin.buffer.read(MAX_BYTES + 1)) if str(path) == STANDARD_INPUT else load_trace(path)


def _print_report(report: "Report") -> None:
    trace = report.trace
    rows = sum(job.row_count for job in report.runs[0].outcome.jobs)
    name = f"{printable(trace.name)}: " if trace.name else ""
    typer.echo(
        f"{name}{show_count(len(trace.jobs), 'job')}, {show_count(rows, 'row')}, "
        f"{show_count(len(trace.slots), 'slot')}, {show_count(len(trace.families), 'server configuration')}\n"
    )
    columns = [_column(run) for run in report.runs]
    print_table(("", *(column[0] for column in columns)), zip(LABELS, *(column[1:] for column in columns), strict=True))
    for run in report.runs:
        _print_misses(run)


def _column(run: "PolicyRun") -> list[str]:
    """Return the policy's name and its figures, all to the right."""
    one = run.measures
    cells = [
        run.policy,
        _time(one.makespan_s),
        f"{one.makespan_ratio:.2f}",
        _time(one.mean_flow_s),
        f"{one.flow_ratio:.2f}",
        f"{one.p95_slowdown:.1f}",
        f"{one.deadline_misses:,}",
        f"{one.avoidable_misses:,}",
        f"{one.jain:.3f}",
        f"{one.worst_tenant:.2f}",
        f"{one.cold_starts:,}",
        f"{one.adapter_loads:,}",
        f"{one.gpu_used_s:,.0f}",
        f"{one.gpu_wasted_s:,.0f}",
        f"{one.gpu_ratio:.2f}",
        f"{one.plan_ms:.2f} ms",
    ]
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def _time(seconds: float) -> str:
    from lorax_batch_scheduler.replay.plot_scale import moment

    return moment(seconds) if math.isfinite(seconds) else "never ends"


def _print_misses(run: "PolicyRun") -> None:
    from lorax_batch_scheduler.replay.report import lateness_s

    if not run.missed:
        return
    typer.echo(f"\n{run.policy} misses {show_count(len(run.missed), 'deadline')}")
    for job in run.missed[:MISSES_SHOWN]:
        late = f"{_time(lateness_s(job))} late" if job.finish is not None else "never ends"
        typer.echo(f"  {printable(job.trace.id)}: {late}")
    if (hidden := len(run.missed) - MISSES_SHOWN) > 0:
        typer.echo(f"  and {hidden:,} more")
