"""`lorax-batch jobs`."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.deadline import parse_deadline
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.exports import export, exports, link
from lorax_batch_server.cli.follow import describe_end, exit_code_of, follow_job, watch_hint
from lorax_batch_server.cli.job_selection import parse_job_filter
from lorax_batch_server.cli.job_view import admission_of, print_job, print_jobs
from lorax_batch_server.cli.options import (
    DEFAULT_TARGET,
    JsonOption,
    LabelOption,
    TargetOption,
    open_client,
    parse_labels,
)
from lorax_batch_server.cli.output import print_json, say
from lorax_batch_server.cli.record import record
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.results import RowOrder, fetch_results

if TYPE_CHECKING:
    from lorax_batch_client import Client, Job

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
commands.command("record")(record)
commands.command("export")(export)
commands.command("exports")(exports)
commands.command("link")(link)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job id.")]


@commands.command()
def create(
    dataset: Annotated[str, typer.Option(help="A dataset id, or a name: the newest dataset of that name.")],
    base_model: Annotated[str, typer.Option(help="A name or alias of the service's catalogue.")],
    quantization: Annotated[str, typer.Option(help="awq, eetq, gptq, bitsandbytes-nf4, fp8, ...")] = "",
    lorax_image_tag: Annotated[str, typer.Option(help="Of the LoRAX image.")] = "",
    hf_token_file: Annotated[Path | None, typer.Option(help="A file that holds the token for the Hub.")] = None,
    adapter_token_file: Annotated[
        Path | None, typer.Option(help="A file that holds the token for adapters; else they get the one for the Hub.")
    ] = None,
    custom_arg: Annotated[list[str], typer.Option(help="For the LoRAX launcher; may be repeated.")] = [],
    backend: Annotated[str, typer.Option(help="fa2 or flashinfer.")] = "",
    adapter_source: Annotated[str, typer.Option(help="hub, s3, local or pbase.")] = "",
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Larger runs earlier.")] = 0,
    deadline: Annotated[str | None, typer.Option(help="24h, 90m, or a moment like 2030-01-31T18:00:00Z.")] = None,
    label: LabelOption = [],
    error_threshold: Annotated[float, typer.Option(min=0, max=1, help="Fail when more of the rows failed.")] = 0.0,
    default_max_tokens: Annotated[int, typer.Option(min=0, help="For rows that set none.")] = 0,
    request_id: Annotated[str, typer.Option(help="Makes the call idempotent.")] = "",
    validate_only: Annotated[bool, typer.Option(help="Check everything, create nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the job until it ends.")] = False,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Create a job: run a dataset on servers of a base model."""
    from lorax_batch_client import ServerConfig

    config = ServerConfig(
        base_model=base_model,
        quantization=quantization,
        lorax_image_tag=lorax_image_tag,
        hf_token=_read_token(hf_token_file, "--hf-token-file"),
        custom_args=tuple(custom_arg),
        backend=backend,
        adapter_source=adapter_source,
        adapter_token=_read_token(adapter_token_file, "--adapter-token-file"),
    )
    with open_client(target) as client:
        job = client.create_job(
            dataset,
            config,
            priority=priority,
            deadline=parse_deadline(deadline) if deadline is not None else None,
            labels=parse_labels(label),
            request_id=request_id,
            validate_only=validate_only,
            error_threshold=error_threshold,
            default_max_tokens=default_max_tokens,
        )
        if wait and not validate_only:
            _watch_to_end(client, job.job_id, as_json=as_json)
        elif as_json:
            print_json(job)
        else:
            typer.echo(job.job_id or "the job would be accepted")
            if admission := admission_of(job):  # apart from the id, which scripts take
                typer.echo(f"admission {admission}", err=True)


def _read_token(path: Path | None, option: str) -> str:
    if path is None:
        return ""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandError(f"{option}: {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{option}: {path} is not text: give a file with the token alone") from error
    if not token:
        raise CommandError(f"{option}: {path} is empty")
    return token


@commands.command("list")
def list_jobs(
    state: Annotated[list[str], typer.Option(help="Only jobs in that state; may be repeated.")] = [],
    label: LabelOption = [],
    dataset: Annotated[str, typer.Option(help="Only jobs of that dataset id.")] = "",
    base_model: Annotated[str, typer.Option(help="Only jobs of that base model.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """List jobs, newest first."""
    selection = parse_job_filter(state, label, dataset, base_model)
    with open_client(target) as client:
        found = list(itertools.islice(client.list_jobs(selection, page_size=min(limit, 1_000)), limit))
    if as_json:
        for job in found:
            print_json(job)
    else:
        print_jobs(found)


@commands.command()
def get(job: JobArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Show a job."""
    with open_client(target) as client:
        _print(client.get_job(job), as_json=as_json)


@commands.command()
def watch(job: JobArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Watch a job until it ends; exit 1 when it did not succeed."""
    with open_client(target) as client:
        _watch_to_end(client, job, as_json=as_json)


def _watch_to_end(client: "Client", job_id: str, *, as_json: bool) -> None:
    ended = follow_job(client, job_id, as_json=as_json, hint=watch_hint(job_id))
    if not as_json:
        say(describe_end(ended))
    raise typer.Exit(exit_code_of(ended))


@commands.command()
def cancel(
    job: JobArgument,
    reason: Annotated[str, typer.Option(help="Kept with the job.")] = "",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Ask a job to stop; its finished rows are kept."""
    with open_client(target) as client:
        _print_state(client.cancel_job(job, reason=reason), as_json=as_json)


@commands.command()
def pause(job: JobArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Send no more rows of a job until it is resumed."""
    with open_client(target) as client:
        _print_state(client.pause_job(job), as_json=as_json)


@commands.command()
def resume(job: JobArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Queue a paused job again."""
    with open_client(target) as client:
        _print_state(client.resume_job(job), as_json=as_json)


@commands.command()
def retry(
    job: JobArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the new job until it ends.")] = False,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Make a new job of the rows of an ended one that did not succeed."""
    with open_client(target) as client:
        created = client.retry_job(job)
        if wait:
            _watch_to_end(client, created.job_id, as_json=as_json)
        elif as_json:
            print_json(created)
        else:
            typer.echo(created.job_id)


@commands.command()
def update(
    job: JobArgument,
    priority: Annotated[int | None, typer.Option(min=-100, max=100, help="Larger runs earlier.")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="24h, 90m, a moment like 2030-01-31T18:00:00Z, or `none`.")
    ] = None,
    label: LabelOption = [],
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Change priority, deadline or labels of a job that has not ended; labels replace all that were there."""
    if priority is None and deadline is None and not label:
        raise CommandError("nothing to change: give --priority, --deadline or --label")
    is_cleared = deadline == "none"
    with open_client(target) as client:
        changed = client.update_job(
            job,
            priority=priority,
            deadline=parse_deadline(deadline) if deadline is not None and not is_cleared else None,
            labels=parse_labels(label) if label else None,
            clear_deadline=is_cleared,
        )
    _print(changed, as_json=as_json)


@commands.command()
def delete(job: JobArgument, target: TargetOption = DEFAULT_TARGET) -> None:
    """Delete an ended job with its results."""
    with open_client(target) as client:
        client.delete_job(job)
    typer.echo(f"deleted {job}")


@commands.command()
def results(
    job: JobArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Rows that succeeded; `-` is standard output.")],
    errors: Annotated[Path | None, typer.Option(help="Rows that did not.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Write rows while the job runs, until it ends.")] = False,
    order: Annotated[RowOrder, typer.Option(help="`input`: by line of the dataset.")] = RowOrder.COMPLETION,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Get the result rows of a job; with --follow, exit 1 when it did not succeed."""
    with open_client(target) as client:
        fetched = fetch_results(client, job, output, errors, follow=follow, order=order)
    if as_json and str(output) != "-":
        print_json(fetched)
    else:
        typer.echo(fetched.describe(), err=True)
    if follow and fetched.state != "succeeded":
        raise typer.Exit(ExitCode.FAILED)


def _print(job: "Job", *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        print_job(job)


def _print_state(job: "Job", *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        say(f"{job.job_id} {job.state.value}" + (f" ({job.reason})" if job.reason else ""))
