"""Result rows into files."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lorax_batch_server.cli.output import show_count
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import Client, Job


class RowOrder(Enum):
    """In which order rows are written."""

    INPUT = "input"
    COMPLETION = "completion"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedResults:
    """What was written, and where."""

    job_id: str
    state: str
    output: str
    errors: str | None
    output_rows: int
    error_rows: int

    def describe(self) -> str:
        """Return it in one line."""
        errors = show_count(self.error_rows, "row")
        if self.errors is None:
            rest = f"; {errors} without success (--errors FILE writes them)" if self.error_rows else ""
        else:
            rest = f", {errors} without success in {_place(self.errors)}"
        return f"{self.job_id} is {self.state}: {show_count(self.output_rows, 'row')} in {_place(self.output)}{rest}"


def _place(path: str) -> str:
    return "standard output" if path == "-" else path


def fetch_results(
    client: "Client", job_id: str, output: Path, errors: Path | None, *, follow: bool, order: RowOrder
) -> FetchedResults:
    """Write the rows of a job: the finished files when it has ended, else what there is (and comes, with `follow`)."""
    _check_paths(output, errors)
    job = client.get_job(job_id)
    if order is RowOrder.INPUT and follow and not job.is_terminal:
        job = client.wait(job)  # rows are in the order of the input only when all of them are there
    if job.is_terminal and order is RowOrder.COMPLETION and str(output) != "-":
        client.download(job, output, errors=errors)
        return _fetched(job, output, errors, job.counts.succeeded, job.counts.ended - job.counts.succeeded)
    output_rows, error_rows = _stream(client, job, output, errors, follow=follow, order=order)
    return _fetched(client.get_job(job_id), output, errors, output_rows, error_rows)


def _check_paths(output: Path, errors: Path | None) -> None:
    if errors is not None and errors == output:
        raise CommandError(f"--errors: {errors} is the output file too; give them different names")
    for path in (output, errors):
        if path is not None and str(path) != "-" and not path.absolute().parent.is_dir():
            raise CommandError(f"{path.parent}: no such directory to write '{path.name}' to")


def _fetched(job: "Job", output: Path, errors: Path | None, output_rows: int, error_rows: int) -> FetchedResults:
    return FetchedResults(
        job_id=job.job_id,
        state=job.state.value,
        output=str(output),
        errors=None if errors is None else str(errors),
        output_rows=output_rows,
        error_rows=error_rows,
    )


def _stream(
    client: "Client", job: "Job", output: Path, errors: Path | None, *, follow: bool, order: RowOrder
) -> tuple[int, int]:
    """Write rows as they come, where a reader can see them grow; return how many of either kind."""
    from lorax_batch_client import ResultKind, ResultOrder

    counts = {ResultKind.OUTPUT: 0, ResultKind.ERROR: 0}
    with _open(output) as output_file, _open(errors) as error_file:
        files = {ResultKind.OUTPUT: output_file, ResultKind.ERROR: error_file}
        for block in client.result_blocks(job, follow=follow, order=ResultOrder(order.value)):
            counts[block.kind] += block.row_count
            file = files[block.kind]
            if file is not None:
                file.write(block.lines)
                file.flush()
    return counts[ResultKind.OUTPUT], counts[ResultKind.ERROR]


@contextlib.contextmanager
def _open(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
    elif str(path) == "-":
        yield sys.stdout.buffer
    else:
        with path.open("wb") as file:
            yield file
