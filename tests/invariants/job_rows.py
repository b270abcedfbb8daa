"""Jobs: their totals are the rows that they were given, and their counts the results of their chunks."""

from collections.abc import Iterator

from lorax_batch_scheduler.dataset import ChunkKind, DatasetState
from lorax_batch_scheduler.job import JobState
from lorax_batch_scheduler.postgres.bits import from_varbit

from tests.invariants.snapshot import Row, Snapshot, by, has_ended

UNSUCCESSFUL = ("failed", "cancelled", "expired", "invalid")


def job_problems(snapshot: Snapshot) -> Iterator[str]:
    chunks = by(snapshot.job_chunks, "job_id")
    dataset_chunks = by(snapshot.dataset_chunks, "dataset_id")
    ready = {row["dataset_id"] for row in snapshot.datasets if row["state"] == DatasetState.READY}
    for job in snapshot.jobs:
        own = chunks[job["job_id"]]
        yield from _counts(job, own)
        if has_ended(job):
            yield from _ended(job, own)
        if job["retry_of"] is not None:
            yield from _retried(job, chunks[job["retry_of"]])
        elif job["dataset_id"] in ready and own:
            yield from _whole(job, own, dataset_chunks[job["dataset_id"]])


def _counts(job: Row, chunks: list[Row]) -> Iterator[str]:
    name = f"job {job['job_id']} ({job['state']})"
    left = sum(chunk["row_count"] - chunk["done_count"] for chunk in chunks)
    if left != job["total"] - job["result_count"]:
        yield f"{name} has results for {job['result_count']} of {job['total']} rows, but its chunks have {left} left"
    unsuccessful = sum(job[column] for column in UNSUCCESSFUL)
    if job["succeeded"] + unsuccessful != job["result_count"]:
        yield f"{name} counts {job['succeeded']} + {unsuccessful} rows, but {job['result_count']} results"
    marked = sum(from_varbit(chunk["unsuccessful"]).bit_count() for chunk in chunks)
    if marked != unsuccessful:
        yield f"{name} counts {unsuccessful} rows without success, but its chunks mark {marked}"


def _ended(job: Row, chunks: list[Row]) -> Iterator[str]:
    name = f"job {job['job_id']} ({job['state']})"
    if job["result_count"] != job["total"]:
        yield f"{name} has ended with {job['result_count']} results for {job['total']} rows"
    leased = [chunk["chunk_no"] for chunk in chunks if chunk["scheduler_id"] is not None]
    if leased:
        yield f"{name} has ended, but its chunks {leased} are leased"
    if job["outcome"] != job["state"]:
        yield f"{name} has ended, but its outcome is {job['outcome']}"


def file_problems(snapshot: Snapshot) -> Iterator[str]:
    """Check what the files of ended jobs are said to hold."""
    for job in filter(has_ended, snapshot.jobs):
        yield from _files(job)


def _files(job: Row) -> Iterator[str]:
    name = f"job {job['job_id']} ({job['state']})"
    rows = {"output_file": job["succeeded"], "error_file": job["result_count"] - job["succeeded"]}
    for column, count in rows.items():
        file = job[column]
        if file is None and (job["total"] or job["state"] != JobState.FAILED):
            yield f"{name} has ended without its {column}"
        if file is not None and file["row_count"] != count:
            yield f"{name} has {count} lines for its {column}, which has {file['row_count']}"


def _whole(job: Row, chunks: list[Row], of_dataset: list[Row]) -> Iterator[str]:
    columns = ("chunk_no", "kind", "model", "row_count")
    if [[row[name] for name in columns] for row in chunks] != [[row[name] for name in columns] for row in of_dataset]:
        yield f"job {job['job_id']} has other chunks than its dataset {job['dataset_id']}"
    rows = sum(chunk["row_count"] for chunk in of_dataset)
    if job["total"] != rows:
        yield f"job {job['job_id']} has {job['total']} rows, but its dataset {job['dataset_id']} has {rows}"


def _retried(job: Row, of_first: list[Row]) -> Iterator[str]:
    """A retry runs the rows that went to the error file; invalid lines stay invalid."""
    if not of_first:
        return  # deleted meanwhile
    rows = sum(from_varbit(chunk["unsuccessful"]).bit_count() for chunk in of_first if chunk["kind"] == ChunkKind.ROWS)
    if job["total"] != rows:
        yield f"job {job['job_id']} has {job['total']} rows, but {rows} of job {job['retry_of']} were to be run again"
