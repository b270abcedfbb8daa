"""`lorax-batch run`: one dataset, one command, no service to look after."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.child import stopped_by_sigterm
from lorax_batch_server.cli.datasets import InvalidChoice, is_failed, print_dataset, upload_with_progress
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.follow import describe_end, exit_code_of, follow_job
from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json
from lorax_batch_server.cli.private_service import private_service
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.run_record import RunRecord
from lorax_batch_server.cli.serve import ServerOption
from lorax_batch_server.cli.served_model import find_served_model

if TYPE_CHECKING:
    from lorax_batch_client import Client, Job


def run(
    file: Annotated[Path, typer.Argument(metavar="INPUT", help="JSON lines, plain, gzip or zstd.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the rows that succeeded go.")],
    server: ServerOption,
    errors: Annotated[
        Path | None, typer.Option(help="Where the other rows go.  [default: OUTPUT with .errors before its suffix]")
    ] = None,
    base_model: Annotated[str, typer.Option(help="[default: what the servers report]")] = "",
    data_dir: Annotated[
        Path | None, typer.Option(help="Kept after the run.  [default: OUTPUT.lorax-batch, removed after the run]")
    ] = None,
    on_invalid: Annotated[InvalidChoice, typer.Option(help="What to do about invalid lines.")] = InvalidChoice.FAIL,
    default_max_tokens: Annotated[int, typer.Option(min=0, help="For rows that set none.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run a dataset on LoRAX servers and write its results; started again with the same arguments it goes on."""
    _check(file, output, errors, server)
    errors = errors or output.with_name(f"{output.stem}.errors{output.suffix}")
    state_dir = data_dir or output.with_name(f"{output.name}.lorax-batch")
    state_dir.mkdir(parents=True, exist_ok=True)
    record = RunRecord.of_run(
        state_dir,
        file,
        output,
        base_model=base_model,
        on_invalid=on_invalid.value,
        default_max_tokens=default_max_tokens,
    )
    try:
        with stopped_by_sigterm(), private_service(state_dir, server, base_model=base_model) as client:
            ended = _run_job(client, file, record, base_model, on_invalid, default_max_tokens, as_json=as_json)
            if ended is not None:
                client.download(ended, output, errors=errors)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise
    if data_dir is None:
        shutil.rmtree(state_dir)
    if ended is None:
        raise typer.Exit(ExitCode.BAD_INPUT)
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"{describe_end(ended)}\nresults in {output}, other rows in {errors}")
    raise typer.Exit(exit_code_of(ended))


def _check(file: Path, output: Path, errors: Path | None, servers: list[str]) -> None:
    from lorax_batch_server.server_spec import parse_servers

    if not servers:
        raise CommandError("--server: none is given; name at least one: --server URL")
    parse_servers(servers)
    with file.open("rb"):
        pass  # raises, naming the file, before anything is started
    if not output.absolute().parent.is_dir():
        raise CommandError(f"{output.parent}: no such directory to write '{output.name}' to")
    if file.absolute() in (output.absolute(), errors and errors.absolute()):
        raise CommandError(f"{file} is the input and would be written over; give --output another name")
    if errors is not None and errors.absolute() == output.absolute():
        raise CommandError(f"--errors: {errors} is the output file too; give them different names")


def _run_job(
    client: "Client",
    file: Path,
    record: RunRecord,
    base_model: str,
    on_invalid: InvalidChoice,
    default_max_tokens: int,
    *,
    as_json: bool,
) -> "Job | None":
    """Return the job when it has ended; None when nothing of the dataset can run (the report is then printed)."""
    for job_id in record.other_job_ids():
        _cancel(client, job_id)
    job_id = record.job_id()
    if not job_id:
        dataset = upload_with_progress(client, file, on_invalid=on_invalid, request_id=record.request_id)
        if is_failed(dataset):
            if as_json:
                print_json(dataset)
            else:
                print_dataset(dataset)
            return None
        model = base_model or find_served_model(client)
        job = client.create_job(
            dataset, base_model=model, request_id=record.request_id, default_max_tokens=default_max_tokens
        )
        job_id = job.job_id
        record.write(job_id)
    return follow_job(client, job_id, as_json=as_json)


def _cancel(client: "Client", job_id: str) -> None:
    """Stop a job of an earlier input under the same output, which would take the servers from this one."""
    from lorax_batch_client.errors import FailedPreconditionError, NotFoundError

    try:
        client.cancel_job(job_id, reason="its input or arguments have changed")
    except (FailedPreconditionError, NotFoundError):
        return
