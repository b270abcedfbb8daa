"""`lorax-batch datasets`."""

import itertools
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, open_client
from lorax_batch_server.cli.output import print_json, print_pairs, print_table, say, show_count

if TYPE_CHECKING:
    from lorax_batch_client import Client, Dataset

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DatasetArgument = Annotated[str, typer.Argument(help="An id, or a name: the newest dataset of that name.")]


class InvalidChoice(Enum):
    """What to do when some lines are not valid rows."""

    FAIL = "fail"
    SKIP = "skip"


@commands.command()
def upload(
    file: Annotated[Path, typer.Argument(help="JSON lines, plain, gzip or zstd; `-` reads standard input.")],
    name: Annotated[str, typer.Option(help="What to call it.  [default: the file's name]")] = "",
    on_invalid: Annotated[InvalidChoice, typer.Option(help="What to do about invalid lines.")] = InvalidChoice.FAIL,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Upload a dataset and wait until it is validated; exit 2 when it has failed."""
    with open_client(target) as client:
        dataset = upload_with_progress(client, file, name=name, on_invalid=on_invalid)
    if as_json:
        print_json(dataset)
    else:
        print_dataset(dataset)
    if is_failed(dataset):
        raise typer.Exit(ExitCode.BAD_INPUT)


@commands.command("import")
def import_(
    source: Annotated[str, typer.Argument(metavar="PATH|s3://BUCKET/KEY", help="As the service sees it.")],
    name: Annotated[str, typer.Option(help="What to call it.  [default: the file's name]")] = "",
    on_invalid: Annotated[InvalidChoice, typer.Option(help="What to do about invalid lines.")] = InvalidChoice.FAIL,
    request_id: Annotated[str, typer.Option(help="Makes the call idempotent.")] = "",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Have the service read a dataset by itself, and wait until it is validated; exit 2 when it has failed."""
    from lorax_batch_client import OnInvalid

    with open_client(target) as client:
        dataset = client.wait_for_dataset(
            client.import_dataset(source, name=name, on_invalid=OnInvalid(on_invalid.value), request_id=request_id)
        )
    if as_json:
        print_json(dataset)
    else:
        print_dataset(dataset)
    if is_failed(dataset):
        raise typer.Exit(ExitCode.BAD_INPUT)


def is_failed(dataset: "Dataset") -> bool:
    """Whether nothing of the dataset can run."""
    from lorax_batch_client import DatasetState

    return dataset.state is DatasetState.FAILED


def upload_with_progress(
    client: "Client", file: Path, *, name: str = "", on_invalid: InvalidChoice, request_id: str = ""
) -> "Dataset":
    """Upload a file under a bar (where a person looks on), and return its dataset once it is validated."""
    from lorax_batch_client import OnInvalid
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    source = sys.stdin.buffer if str(file) == "-" else file
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("uploading", total=None)
        dataset = client.upload_dataset(
            source,
            name=name,
            on_invalid=OnInvalid(on_invalid.value),
            request_id=request_id,
            progress=lambda sent, total: bar.update(task, completed=sent, total=total),
        )
        bar.update(task, description="validating")
        return client.wait_for_dataset(dataset)


@commands.command("list")
def list_datasets(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """List datasets, newest first."""
    with open_client(target) as client:
        found = list(itertools.islice(client.list_datasets(page_size=min(limit, 1_000)), limit))
    if as_json:
        for dataset in found:
            print_json(dataset)
        return
    columns = ("DATASET", "NAME", "STATE", "ROWS", "INVALID", "BYTES", "CREATED")
    print_table(
        columns,
        (
            (one.dataset_id, one.name, one.state, one.row_count, one.invalid_row_count, one.byte_count, one.create_time)
            for one in found
        ),
    )


@commands.command()
def get(dataset: DatasetArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Show a dataset, and what is wrong with its invalid lines."""
    with open_client(target) as client:
        found = client.get_dataset(dataset)
    if as_json:
        print_json(found)
    else:
        print_dataset(found)


@commands.command()
def delete(dataset: DatasetArgument, target: TargetOption = DEFAULT_TARGET) -> None:
    """Delete a dataset with its bytes; jobs that have ended keep their results."""
    with open_client(target) as client:
        found = client.get_dataset(dataset)
        client.delete_dataset(found)
    typer.echo(f"deleted {found.dataset_id}")


def print_dataset(dataset: "Dataset") -> None:
    """Print a dataset for a person, with the first lines of each thing that is wrong."""
    shown = ", ".join(f"{one.model or '(base model)'} {one.row_count:,}" for one in dataset.models[:20])
    hidden = dataset.model_count - min(len(dataset.models), 20)
    print_pairs(
        [
            ("dataset", dataset.dataset_id),
            ("name", dataset.name),
            ("state", dataset.state),
            ("reason", dataset.reason),
            ("rows", dataset.row_count),
            ("invalid rows", dataset.invalid_row_count or None),
            ("bytes", dataset.byte_count),
            ("prompt tokens", f"about {dataset.estimated_prompt_tokens:,}"),
            ("models", shown + (f" and {hidden:,} more" if hidden > 0 else "")),
            ("created", dataset.create_time),
            ("expires unless used", dataset.expire_time),
        ]
    )
    for code in dataset.invalid:
        typer.echo()
        say(f"{code.code}: {show_count(code.line_count, 'line')}")
        for line in code.first_lines:
            where = f" {line.param}:" if line.param else ""
            say(f"  line {line.line}:{where} {line.message}")
