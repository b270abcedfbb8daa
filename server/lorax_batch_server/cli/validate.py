"""`lorax-batch validate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json, say, show_count

if TYPE_CHECKING:
    from lorax_batch_scheduler.dataset import DatasetSummary, InvalidLine

MODELS_SHOWN: Final = 20


def validate(
    file: Annotated[Path, typer.Argument(help="JSON lines, plain, gzip or zstd.")],
    as_json: JsonOption = False,
) -> None:
    """Check a dataset offline: all bad lines, counts per code, adapters, token estimate; exit 2 when it has errors."""
    from lorax_batch_scheduler.ingest.validation import validate_file

    summary = validate_file(file, _print_line_as_json if as_json else _print_line)
    if as_json:
        print_json(_summary_fields(summary))
    else:
        _print_summary(summary)
    if summary.invalid.line_count:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _print_line(invalid: "InvalidLine") -> None:
    param = f" {invalid.param}:" if invalid.param else ""
    say(f"line {invalid.line}: {invalid.code}:{param} {invalid.message}")


def _print_line_as_json(invalid: "InvalidLine") -> None:
    print_json({"line": invalid.line, "code": invalid.code, "param": invalid.param, "message": invalid.message})


def _summary_fields(summary: "DatasetSummary") -> dict[str, Any]:
    return {
        "rows": summary.row_count,
        "invalid_lines": summary.invalid.line_count,
        "codes": {code.code: code.line_count for code in summary.invalid.codes},
        "models": {one.model: one.row_count for one in summary.models},
        "model_count": summary.model_count,
        "estimated_prompt_tokens": summary.prompt_tokens,
        "bytes": summary.byte_count,
        "sha256": summary.sha256,
    }


def _print_summary(summary: "DatasetSummary") -> None:
    invalid = summary.invalid.line_count
    if invalid:
        typer.echo("")
    typer.echo(
        f"{show_count(summary.row_count, 'row')}, {invalid:,} invalid, about {summary.prompt_tokens:,} prompt tokens"
    )
    for code in summary.invalid.codes:
        typer.echo(f"  {code.line_count:>10,}  {code.code}")
    if summary.models:
        typer.echo("models")
    for one in summary.models[:MODELS_SHOWN]:
        say(f"  {one.row_count:>10,}  {one.model or '(base model)'}")
    if (hidden := summary.model_count - MODELS_SHOWN) > 0:
        typer.echo(f"  and {hidden:,} more")
