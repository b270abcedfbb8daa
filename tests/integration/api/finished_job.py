"""Runs the rows of a job as a scheduler would, without a server."""

from collections.abc import Mapping, Set
from datetime import timedelta

from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import Job, JobEvent, ResultFile, RowError
from lorax_batch_scheduler.ports import ChunkResults, JobActivity, LeasedChunk, SegmentToStore
from lorax_batch_scheduler.segment import Segment, encode_segment

from tests.integration.api.conftest import Api
from tests.integration.postgres.conftest import Stores

SCHEDULER = "s1"


def line_of(row: int) -> bytes:
    """Return the result line of a row of a chunk."""
    return b'{"row":%d}\n' % row


async def claim(stores: Stores, job_id: str, chunk_no: int = 0) -> LeasedChunk:
    """Lease a chunk of `ready_dataset`."""
    lease = timedelta(minutes=5)
    if not await stores.leases.renew_scheduler(SCHEDULER, lease):
        await stores.leases.register_scheduler(SCHEDULER, lease, exclusive=False)
    leased = await stores.leases.claim_chunks(SCHEDULER, job_id, ChunkKind.ROWS, f"adapter-{chunk_no}", 10)
    return leased[0]


async def commit(stores: Stores, chunk: LeasedChunk, rows: list[int], *, failed: Set[int] = frozenset()) -> None:
    """Commit results for these rows."""
    await commit_lines(stores, chunk, {row: (row + 1, line_of(row)) for row in rows}, failed=failed)


async def commit_lines(
    stores: Stores, chunk: LeasedChunk, rows: Mapping[int, tuple[int, bytes]], *, failed: Set[int] = frozenset()
) -> None:
    """Commit results for these rows, each with the line of the dataset that it answers and its text."""
    segments = []
    for error in (False, True):
        chosen = [answer for row, answer in rows.items() if (row in failed) == error]
        if chosen:
            lines, text = [line for line, _ in chosen], b"".join(text for _, text in chosen)
            segments.append(
                SegmentToStore(
                    error=error,
                    row_count=len(chosen),
                    first_line=min(lines),
                    last_line=max(lines),
                    byte_count=len(text),
                    blob=encode_segment(Segment(lines, text)),
                )
            )
    bad = [row for row in rows if row in failed]
    results = ChunkResults(
        job_id=chunk.job_id,
        chunk_no=chunk.chunk_no,
        epoch=chunk.epoch,
        row_count=chunk.row_count,
        done=sum(1 << row for row in rows),
        unsuccessful=sum(1 << row for row in bad),
        succeeded=len(rows) - len(bad),
        failed=len(bad),
        cancelled=0,
        expired=0,
        invalid=0,
        prompt_tokens=10 * len(rows),
        completion_tokens=5 * len(rows),
        errors=[RowError(line=row + 1, custom_id=f"r{row}", code="bad", message="bad row") for row in bad],
        segments=segments,
    )
    activity = JobActivity(job_id=chunk.job_id, in_flight=2, retrying=1, rows_per_second=10, tokens_per_second=100)
    receipt = await stores.leases.commit_results(SCHEDULER, [results], [activity])
    assert receipt.accepted == {(chunk.job_id, chunk.chunk_no)}


async def run_rows(stores: Stores, job_id: str, row_count: int, *, failed: Set[int] = frozenset()) -> None:
    """Run all rows of a job with one chunk."""
    await commit(stores, await claim(stores, job_id), list(range(row_count)), failed=failed)


async def settle(
    api: Api, job_id: str, event: JobEvent, *, output: bytes = b"output\n", errors: bytes = b"errors\n"
) -> Job:
    """End a job whose rows are done, with these files."""
    await api.stores.jobs.move_job(job_id, event)
    files = []
    for name, data in (("output", output), ("errors", errors)):
        key = f"results/{job_id}/{name}.jsonl"
        await api.objects.put(key, data)
        files.append(ResultFile(key=key, row_count=data.count(b"\n"), byte_count=len(data), sha256="0" * 64))
    return await api.stores.results.finish_job(job_id, *files)
