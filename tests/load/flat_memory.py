"""Memory by the size of a dataset: jobs of rising size through one service, one after the other."""

from dataclasses import dataclass

from lorax_batch_client import Client

from tests.load.memory import MemoryPeak
from tests.load.stage import Stage, create_job, load_stage

IN_FLIGHT = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeReport:
    """One dataset from its upload to the last byte of its downloaded results."""

    rows: int
    succeeded: int
    lines: int
    """Of the downloaded output file."""
    most_calls_of_a_row: int
    """Over all datasets so far, which number their rows alike."""
    rows_per_second: float
    """From the job's start to its end, files included."""
    service_mib: float
    """The largest resident memory of the service's process."""
    postgres_mib: float
    """The largest private memory of all PostgreSQL's processes."""


def measure(sizes: tuple[int, ...]) -> list[SizeReport]:
    """Run the datasets."""
    with load_stage(in_flight=IN_FLIGHT) as stage, stage.client() as client:
        return [_measure(stage, client, rows) for rows in sizes]


def _measure(stage: Stage, client: Client, rows: int) -> SizeReport:
    with stage.memory() as peak:
        job = client.wait(create_job(client, stage.dataset(client, rows)))
        lines = _download(stage, client, job.job_id)
    assert job.start_time is not None
    assert job.end_time is not None
    return _report(rows, job.counts.succeeded, lines, stage, peak, (job.end_time - job.start_time).total_seconds())


def _report(rows: int, succeeded: int, lines: int, stage: Stage, peak: MemoryPeak, seconds: float) -> SizeReport:
    return SizeReport(
        rows=rows,
        succeeded=succeeded,
        lines=lines,
        most_calls_of_a_row=stage.most_calls_of_a_row(),
        rows_per_second=rows / seconds,
        service_mib=peak.service_mib,
        postgres_mib=peak.postgres_mib,
    )


def _download(stage: Stage, client: Client, job_id: str) -> int:
    """Return how many lines the output file has."""
    path = stage.folder / "output.jsonl"
    client.download(job_id, path)
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    path.unlink()
    return lines
