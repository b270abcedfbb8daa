"""`lorax-batch jobs export`, `exports` and `link`."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.deadline import parse_span
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, open_client
from lorax_batch_server.cli.output import print_json, print_table, say
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import Export

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job id.")]


def export(
    job: JobArgument,
    destination: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="Where the two files are to lie.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the files are there; exit 1 when it failed.")
    ] = False,
    request_id: Annotated[str, typer.Option(help="Makes the call idempotent.")] = "",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Have a job's files written to a bucket of yours that the service may write to, once the job has ended."""
    from lorax_batch_client import ExportState

    with open_client(target) as client:
        made = client.export_results(job, destination, request_id=request_id)
        if wait:
            made = client.wait_for_export(made)
    _print(made, as_json=as_json)
    if made.state is ExportState.FAILED:
        raise typer.Exit(ExitCode.FAILED)


def exports(job: JobArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """List the exports of a job, newest first."""
    with open_client(target) as client:
        found = client.list_exports(job)
    if as_json:
        for one in found:
            print_json(one)
        return
    print_table(
        ("EXPORT", "STATE", "DESTINATION", "CREATED", "REASON"),
        ((one.export_id, one.state, one.destination, one.create_time, one.reason) for one in found),
    )


def link(
    job: JobArgument,
    errors: Annotated[bool, typer.Option("--errors", help="To the rows that did not succeed.")] = False,
    lifetime: Annotated[str, typer.Option(help="How long it can be used: 30m, 12h, 7d at most.")] = "1h",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Print a link to a finished file, for curl and browsers; whoever has it can read the file until it expires."""
    from lorax_batch_client import ResultKind

    span = parse_span(lifetime, option="--lifetime", sense="from now")
    if not isinstance(span, timedelta):
        raise CommandError(f"--lifetime: '{lifetime}' is a moment: give a length of time, like 12h")
    with open_client(target) as client:
        made = client.download_link(job, ResultKind.ERROR if errors else ResultKind.OUTPUT, lifetime=span)
    if as_json:
        print_json({"url": made.url, "expire_time": made.expire_time, "byte_count": made.file.byte_count})
    else:
        typer.echo(made.url)


def _print(made: "Export", *, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        reason = f" ({made.reason})" if made.reason else ""
        say(f"{made.export_id} {made.state.value}{reason}: {made.destination}")
