"""The bit sets of rows: as Python counts them and as PostgreSQL does."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import JobEvent, ResultFile
from lorax_batch_scheduler.postgres.bits import from_varbit, to_varbit
from lorax_batch_scheduler.scheduling.committer import _bits

from tests.integration.postgres.conftest import LEASE, Stores, stores
from tests.integration.postgres.test_commit import results_of
from tests.properties.effort import examples

__all__ = ["stores"]

_numbers = itertools.count(1)
FILE = ResultFile(key="file", row_count=0, byte_count=0, sha256="")


@given(st.data(), st.integers(1, 1_100))
def test_bits_come_back_from_the_stored_form(data: st.DataObject, row_count: int) -> None:
    rows = data.draw(st.lists(st.integers(0, row_count - 1), max_size=60))
    bits = _bits(rows, row_count)
    assert bits == sum(1 << row for row in set(rows))
    stored = to_varbit(bits, row_count)
    assert len(stored) == (row_count + 7) // 8 * 8
    assert from_varbit(stored) == bits


@examples(12)
@given(story=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3), st.randoms(use_true_random=False)), max_size=3))
async def test_every_row_is_done_once_in_whatever_pieces_and_a_retry_takes_exactly_the_failed_ones(
    stores: Stores, story: list[tuple[int, int, object]]
) -> None:
    """Rows are committed in random pieces; some fail; the job is retried, and its retry too."""
    number = next(_numbers)
    await stores.leases.register_scheduler(f"s{number}", LEASE, exclusive=False)
    row_count = story[0][0] if story else 1
    await stores.ready_dataset(row_count, dataset_id=f"ds_{number}")
    await stores.queued_job(f"job_{number}_0", f"ds_{number}")
    expected = set(range(row_count))
    for life, (_, failed_share, chance) in enumerate(story):
        job_id = f"job_{number}_{life}"
        rows = sorted(expected)
        chance.shuffle(rows)  # type: ignore[attr-defined]
        failed = frozenset(rows[: len(rows) * failed_share // 4])
        (lease,) = await stores.leases.claim_chunks(f"s{number}", job_id, ChunkKind.ROWS, "adapter-0", 1)
        assert {row for row in range(row_count) if not lease.done >> row & 1} == expected
        while rows:
            piece = sorted(rows[:7])
            del rows[:7]
            receipt = await stores.leases.commit_results(f"s{number}", [results_of(lease, piece, failed)], [])
            assert receipt.accepted == {(job_id, 0)}
            assert (receipt.complete_jobs == [job_id]) == (not rows)
        job = await stores.jobs.get_job(job_id)
        assert (job.counts.succeeded, job.counts.failed) == (len(expected) - len(failed), len(failed))
        assert (job.counts.total, job.counts.pending) == (len(expected), 0)
        await stores.jobs.move_job(job_id, JobEvent.ROWS_DONE)
        await stores.results.finish_job(job_id, FILE, FILE)
        expected = set(failed)
        if not expected:
            return
        retry = await stores.jobs.retry_job(job_id, new_job_id=f"job_{number}_{life + 1}", request_id=None)
        assert retry.counts.total == len(expected)
