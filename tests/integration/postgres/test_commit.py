"""Exactly once: what a commit stores, and what fences keep out."""

from dataclasses import replace

import pytest
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import JobEvent, JobState, ResultFile, RowError
from lorax_batch_scheduler.ports import ChunkResults, JobActivity, LeasedChunk, SegmentToStore
from lorax_batch_scheduler.segment import Segment, decode_segment, encode_segment

from tests.integration.postgres.conftest import LEASE, Stores


def results_of(chunk: LeasedChunk, rows: list[int], failed: frozenset[int] = frozenset()) -> ChunkResults:
    """Return results for these rows of a chunk, one segment a kind."""

    def segment(chosen: list[int], *, error: bool) -> list[SegmentToStore]:
        if not chosen:
            return []
        text = b"".join(b'{"row":%d}\n' % row for row in chosen)
        return [
            SegmentToStore(
                error=error,
                row_count=len(chosen),
                first_line=chosen[0] + 1,
                last_line=chosen[-1] + 1,
                byte_count=len(text),
                blob=encode_segment(Segment([row + 1 for row in chosen], text)),
            )
        ]

    good = [row for row in rows if row not in failed]
    bad = [row for row in rows if row in failed]
    return ChunkResults(
        job_id=chunk.job_id,
        chunk_no=chunk.chunk_no,
        epoch=chunk.epoch,
        row_count=chunk.row_count,
        done=sum(1 << row for row in rows),
        unsuccessful=sum(1 << row for row in bad),
        succeeded=len(good),
        failed=len(bad),
        cancelled=0,
        expired=0,
        invalid=0,
        prompt_tokens=10 * len(good),
        completion_tokens=5 * len(good),
        errors=[RowError(line=row + 1, custom_id=f"r{row}", code="bad", message="bad row") for row in bad],
        segments=segment(good, error=False) + segment(bad, error=True),
    )


async def claim(stores: Stores, scheduler_id: str = "s1", chunk: int = 0) -> LeasedChunk:
    """Lease the one chunk of an adapter."""
    (leased,) = await stores.leases.claim_chunks(scheduler_id, "job_1", ChunkKind.ROWS, f"adapter-{chunk}", 10)
    return leased


@pytest.fixture
async def running(stores: Stores) -> Stores:
    """A job of two chunks (5 and 12 rows) and two schedulers."""
    await stores.ready_dataset(5, 12)
    await stores.queued_job()
    await stores.leases.register_scheduler("s1", LEASE, exclusive=False)
    await stores.leases.register_scheduler("s2", LEASE, exclusive=False)
    return stores


async def test_a_commit_stores_segments_counts_and_bits_together(running: Stores) -> None:
    chunk = await claim(running)
    receipt = await running.leases.commit_results("s1", [results_of(chunk, [0, 3, 4], frozenset({3}))], [])
    assert receipt.accepted == {("job_1", 0)}
    assert receipt.complete_jobs == []
    job = await running.jobs.get_job("job_1")
    assert (job.counts.succeeded, job.counts.failed, job.counts.pending, job.counts.total) == (2, 1, 14, 17)
    assert (job.prompt_tokens, job.completion_tokens) == (20, 10)
    assert [error.custom_id for error in job.errors] == ["r3"]
    stored = await running.results.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)
    assert [(s.first_offset, s.row_count, s.error) for s in stored] == [(0, 2, False), (2, 1, True)]
    assert decode_segment(stored[0].blob).text == b'{"row":0}\n{"row":4}\n'
    await running.leases.release_chunks("s1", [chunk])
    again = await claim(running, "s2")
    assert again.done == 0b11001
    assert again.epoch == chunk.epoch + 1


async def test_offsets_are_dense_over_chunks_and_commits(running: Stores) -> None:
    first, second = await claim(running, "s1", 0), await claim(running, "s2", 1)
    await running.leases.commit_results("s1", [results_of(first, [0, 1])], [])
    await running.leases.commit_results("s2", [results_of(second, [0, 1, 2])], [])
    receipt = await running.leases.commit_results("s1", [results_of(first, [2, 3, 4])], [])
    assert receipt.complete_jobs == []
    receipt = await running.leases.commit_results("s2", [results_of(second, list(range(3, 12)))], [])
    assert receipt.complete_jobs == ["job_1"]
    stored = await running.results.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)
    assert [(s.first_offset, s.row_count) for s in stored] == [(0, 2), (2, 3), (5, 3), (8, 9)]
    assert await running.leases.rows_left(["job_1"]) == []


async def test_a_commit_whose_answer_was_lost_is_sent_again_without_harm(running: Stores) -> None:
    chunk = await claim(running)
    results = results_of(chunk, [0, 1, 2, 3, 4])
    for _ in range(2):
        receipt = await running.leases.commit_results("s1", [results], [])
        assert receipt.accepted == {("job_1", 0)}
    job = await running.jobs.get_job("job_1")
    assert job.counts.succeeded == 5
    assert len(await running.results.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)) == 1


async def test_a_late_writer_whose_lease_is_lost_stores_nothing(running: Stores) -> None:
    late = await claim(running, "s1")
    await running.leases.release_chunks("s1", [late])
    owner = await claim(running, "s2")
    receipt = await running.leases.commit_results("s1", [results_of(late, [0, 1])], [])
    assert receipt.accepted == set()
    assert (await running.jobs.get_job("job_1")).counts.succeeded == 0
    receipt = await running.leases.commit_results("s2", [results_of(owner, [0, 1])], [])
    assert receipt.accepted == {("job_1", 0)}


async def test_one_lost_chunk_does_not_hold_up_the_others_of_a_commit(running: Stores) -> None:
    late, good = await claim(running, "s1", 0), await claim(running, "s1", 1)
    await running.leases.release_chunks("s1", [late])
    await claim(running, "s2", 0)
    receipt = await running.leases.commit_results("s1", [results_of(late, [0]), results_of(good, [0, 1])], [])
    assert receipt.accepted == {("job_1", 1)}
    stored = await running.results.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)
    assert [(s.first_offset, s.row_count) for s in stored] == [(0, 2)]


async def test_rows_that_overlap_what_is_stored_are_refused_whole(running: Stores) -> None:
    chunk = await claim(running)
    await running.leases.commit_results("s1", [results_of(chunk, [0, 1])], [])
    receipt = await running.leases.commit_results("s1", [results_of(chunk, [1, 2])], [])
    assert receipt.accepted == set()
    assert (await running.jobs.get_job("job_1")).counts.succeeded == 2


async def test_leases_of_a_dead_scheduler_are_free_again(running: Stores) -> None:
    chunk = await claim(running, "s1")
    async with running.database.connection() as connection:
        await connection.execute("UPDATE schedulers SET lease_until = now() - interval '1 s' WHERE scheduler_id = 's1'")
    assert await running.leases.renew_scheduler("s1", LEASE) is False
    assert await running.leases.renew_scheduler("s2", LEASE) is True
    assert (await claim(running, "s2")).epoch > chunk.epoch
    receipt = await running.leases.commit_results("s1", [results_of(chunk, [0])], [])
    assert receipt.accepted == set()
    assert await running.leases.claim_chunks("s1", "job_1", ChunkKind.ROWS, "adapter-1", 1) == []


async def test_an_exclusive_scheduler_takes_over_at_once(running: Stores) -> None:
    await claim(running, "s1")
    await running.leases.register_scheduler("s3", LEASE, exclusive=True)
    assert (await claim(running, "s3")).chunk_no == 0
    assert await running.leases.renew_scheduler("s2", LEASE) is False


async def test_fencing_a_cancelled_job_takes_its_rows_from_whoever_runs_them(running: Stores) -> None:
    chunk = await claim(running, "s1")
    await running.leases.commit_results("s1", [results_of(chunk, [0])], [])
    assert await running.leases.fence_job("s2", "job_1") == []
    await running.jobs.move_job("job_1", JobEvent.CANCEL)
    fenced = await running.leases.fence_job("s2", "job_1")
    assert [(c.chunk_no, c.done) for c in fenced] == [(0, 1), (1, 0)]
    assert (await running.leases.commit_results("s1", [results_of(chunk, [1])], [])).accepted == set()
    rest = results_of(fenced[0], [1, 2, 3, 4], frozenset({1, 2, 3, 4}))
    receipt = await running.leases.commit_results("s2", [replace(rest, failed=0, cancelled=4)], [])
    assert receipt.accepted == {("job_1", 0)}
    counts = (await running.jobs.get_job("job_1")).counts
    assert (counts.succeeded, counts.cancelled, counts.pending) == (1, 4, 12)


async def test_no_chunk_of_a_paused_job_is_claimed_but_its_rows_in_flight_are_kept(running: Stores) -> None:
    chunk = await claim(running)
    await running.jobs.move_job("job_1", JobEvent.PAUSE)
    assert await running.leases.claim_chunks("s1", "job_1", ChunkKind.ROWS, "adapter-1", 1) == []
    assert (await running.leases.commit_results("s1", [results_of(chunk, [0])], [])).accepted == {("job_1", 0)}


async def test_activity_is_told_but_never_exceeds_what_is_left(running: Stores) -> None:
    activity = JobActivity(job_id="job_1", in_flight=15, retrying=9, rows_per_second=3.5, tokens_per_second=70.0)
    await running.leases.commit_results("s1", [], [activity])
    job = await running.jobs.get_job("job_1")
    assert (job.counts.in_flight, job.counts.retrying, job.counts.pending) == (15, 2, 0)
    assert job.rows_per_second == 3.5
    await running.leases.unregister_scheduler("s1")
    assert (await running.jobs.get_job("job_1")).counts.pending == 17


async def test_a_retry_runs_exactly_the_rows_that_went_to_the_error_file(running: Stores) -> None:
    for number, rows, failed in ((0, range(5), {1}), (1, range(12), {0, 11})):
        chunk = await claim(running, "s1", number)
        await running.leases.commit_results("s1", [results_of(chunk, list(rows), frozenset(failed))], [])
    await running.jobs.move_job("job_1", JobEvent.ROWS_DONE)
    file = ResultFile(key="results/job_1/any.jsonl", row_count=0, byte_count=0, sha256="")
    await running.results.finish_job("job_1", file, file)
    retry = await running.jobs.retry_job("job_1", new_job_id="job_2", request_id="again")
    assert (retry.counts.total, retry.retry_of, retry.state) == (3, "job_1", JobState.QUEUED)
    assert (await running.jobs.retry_job("job_1", new_job_id="job_3", request_id="again")).job_id == "job_2"
    (chunk,) = await running.leases.claim_chunks("s1", "job_2", ChunkKind.ROWS, "adapter-1", 1)
    assert chunk.done == 0b011111111110
    receipt = await running.leases.commit_results("s1", [results_of(chunk, [0, 11])], [])
    assert receipt.accepted == {("job_2", 1)}


async def test_a_lease_whose_claim_was_never_answered_is_given_back(running: Stores) -> None:
    known, forgotten = await claim(running, "s1", 0), await claim(running, "s1", 1)
    await running.leases.release_forgotten("s1", [known])
    assert (await claim(running, "s2", 1)).epoch == forgotten.epoch + 1
    assert await running.leases.claim_chunks("s2", "job_1", ChunkKind.ROWS, "adapter-0", 1) == []
