"""`lorax-batch rehearse`."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorax_batch_server.cli.child import stopped_by_sigterm
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json, print_table, show_count, show_span
from lorax_batch_server.cli.plan import read_trace
from lorax_batch_server.cli.private_service import private_service
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_scheduler.replay import PolicyRun

    from lorax_batch_server.rehearsal import LiveRun, Pace

TIME_SCALE: Final = 0.05


def rehearse(
    trace: Annotated[Path, typer.Argument(metavar="TRACE.json", help="A trace; `-` reads standard input.")],
    time_scale: Annotated[
        float, typer.Option(min=0.001, max=1, help="Real seconds that a second of the trace takes.")
    ] = TIME_SCALE,
    within: Annotated[
        float | None, typer.Option(min=0, metavar="PERCENT", help="Exit 1 when the makespans differ by more.")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Keep the service's log there.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a trace for real, on simulated servers at a time scale, and compare it with its replay in virtual time.

    A service of its own starts and stops the servers, by the planner that `lorax-batch plan` replays.
    """
    from lorax_batch_scheduler.errors import InvalidInputError
    from lorax_batch_scheduler.replay import replay_trace

    from lorax_batch_server.rehearsal import Stage, pace_of, run_live, simplified, usable_cores

    try:
        played, left_out = simplified(read_trace(trace))
    except InvalidInputError as error:
        raise CommandError(str(error)) from error
    virtual = replay_trace(played)
    span = timedelta(seconds=virtual.measures.makespan_s)
    typer.echo(
        f"{show_count(len(played.jobs), 'job')} on {show_count(len(played.slots), 'slot')}: {show_span(span)} in the "
        f"replay, so about {show_span(span * time_scale)} now",
        err=True,
    )
    if left_out:
        typer.echo(f"without its {', '.join(left_out)}, in both", err=True)
    rows = sum(run.row_count for run in virtual.outcome.jobs)
    pace = pace_of(rows, virtual.measures.makespan_s, time_scale, usable_cores())
    if pace.is_too_fast:
        typer.echo(pace.warning(time_scale), err=True)
    directory = Path(tempfile.mkdtemp(prefix="lorax-batch-rehearsal-"))
    try:
        stage = Stage(played, directory, time_scale)
        stage.write()
        with (
            stopped_by_sigterm(),
            private_service(directory / "data", fleet=stage.fleet_file, settings=stage.settings) as client,
        ):
            live = run_live(client, played, stage, directory, time_scale, tell=lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo("\nstopped; nothing is left running", err=True)
        raise
    finally:
        if log is not None:
            shutil.copyfile(directory / "data" / "service.log", log)
        shutil.rmtree(directory, ignore_errors=True)
    difference = live.makespan_s / virtual.measures.makespan_s - 1
    if as_json:
        print_json(_fields(live, virtual, difference, pace))
    else:
        _print(live, virtual, difference)
    if live.unsuccessful_rows or (within is not None and abs(difference) * 100 > within):
        raise typer.Exit(ExitCode.FAILED)


def _fields(live: "LiveRun", virtual: "PolicyRun", difference: float, pace: "Pace") -> dict[str, object]:
    measures = virtual.measures
    return {
        "live": {
            "makespan_s": live.makespan_s,
            "mean_finish_s": sum(live.finish_s.values()) / len(live.finish_s),
            "servers_started": live.servers_started,
            "adapter_loads": live.adapter_loads,
            "rows": live.rows,
            "unsuccessful_rows": live.unsuccessful_rows,
            "finish_s": live.finish_s,
        },
        "replay": {
            "makespan_s": measures.makespan_s,
            "servers_started": measures.cold_starts,
            "adapter_loads": measures.adapter_loads,
            "finish_s": {job.trace.id: job.finish for job in virtual.outcome.jobs},
        },
        "makespan_difference": difference,
        "pace": {
            "rows_per_second_asked": pace.asked,
            "rows_per_second_possible": pace.possible,
            "time_scale_enough": pace.enough,
            "is_too_fast": pace.is_too_fast,
        },
    }


def _print(live: "LiveRun", virtual: "PolicyRun", difference: float) -> None:
    measures = virtual.measures
    print_table(
        ("", "LIVE", "REPLAY"),
        (
            ("makespan", _span(live.makespan_s), _span(measures.makespan_s)),
            ("servers started", live.servers_started, measures.cold_starts),
            ("adapters loaded", live.adapter_loads, measures.adapter_loads),
            *(
                (f"  {job.trace.id} ends at", _span(live.finish_s.get(job.trace.id)), _span(job.finish))
                for job in virtual.outcome.jobs
            ),
        ),
    )
    typer.echo(f"\nlive took {abs(difference):.1%} {'longer' if difference > 0 else 'less'} than its replay")
    if live.unsuccessful_rows:
        typer.echo(f"{live.unsuccessful_rows:,} of {live.rows:,} rows did not succeed")


def _span(seconds: float | None) -> str:
    return show_span(timedelta(seconds=seconds)) if seconds is not None else "never"
