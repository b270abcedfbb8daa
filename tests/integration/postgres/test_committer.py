"""The committer on a real database: what it batches, and what it survives."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.job import RowError
from lorax_batch_scheduler.ports import ChunkResults, CommitReceipt, JobActivity, LeasedChunk
from lorax_batch_scheduler.scheduling.committer import COMMIT_ROWS, CONGESTED_ROWS, Committed, Committer
from lorax_batch_scheduler.segment import decode_segment
from lorax_batch_scheduler.work import RowOutcome

from tests.integration.postgres.conftest import LEASE, Stores

LONG = timedelta(seconds=60)
"""An interval that never ends in a test: commits come by size or by flush."""


@dataclass
class Bench:
    """A committer with what it told."""

    stores: Stores
    committer: Committer
    told: list[Committed] = field(default_factory=list)

    async def claim(self, adapter: int = 0) -> LeasedChunk:
        (lease,) = await self.stores.leases.claim_chunks("s1", "job_1", ChunkKind.ROWS, f"adapter-{adapter}", 1)
        return lease

    def add(self, lease: LeasedChunk, *rows: int, outcome: RowOutcome = RowOutcome.SUCCEEDED) -> None:
        error = RowError(line=1, custom_id="x", code="bad", message="bad") if outcome is RowOutcome.FAILED else None
        for row in rows:
            self.committer.add(lease, row, row + 1, b'{"row":%d}\n' % row, outcome, 3, 2, error)


class LosesAnswers:
    """A lease store whose first commits succeed, but whose answers get lost."""

    def __init__(self, stores: Stores, times: int) -> None:
        self._leases = stores.leases
        self.times = times

    async def commit_results(
        self, scheduler_id: str, results: list[ChunkResults], activity: list[JobActivity]
    ) -> CommitReceipt:
        receipt = await self._leases.commit_results(scheduler_id, results, activity)
        if self.times:
            self.times -= 1
            raise DatabaseError("connection lost behind the commit")
        return receipt

    async def release_chunks(self, scheduler_id: str, chunks: list[LeasedChunk]) -> None:
        await self._leases.release_chunks(scheduler_id, chunks)


class Impatient(SystemClock):
    """A clock on which waiting takes no time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    await stores.ready_dataset(5, 900, 900, 900)
    await stores.queued_job()
    await stores.leases.register_scheduler("s1", LEASE, exclusive=True)
    told: list[Committed] = []
    committer = Committer(
        leases=stores.leases,
        scheduler_id=lambda: "s1",
        interval=LONG,
        clock=Impatient(),
        activity=list,
        on_commit=told.append,
    )
    running = asyncio.create_task(committer.run())
    yield Bench(stores, committer, told)
    running.cancel()
    await asyncio.wait([running])


async def test_a_flush_stores_all_that_was_added(bench: Bench) -> None:
    lease = await bench.claim()
    bench.add(lease, 0, 2)
    bench.add(lease, 1, outcome=RowOutcome.FAILED)
    await bench.committer.flush()
    job = await bench.stores.jobs.get_job("job_1")
    assert (job.counts.succeeded, job.counts.failed) == (2, 1)
    assert (job.prompt_tokens, job.completion_tokens) == (9, 6)
    assert lease.done == 0b111
    assert bench.told[0].rows == {"job_1": 3}
    stored = await bench.stores.results.segments("job_1", first_offset=0, error=True, max_bytes=1)
    assert decode_segment(stored[0].blob).text == b'{"row":1}\n'


async def test_many_rows_are_committed_without_waiting_for_the_interval(bench: Bench) -> None:
    leases = [await bench.claim(adapter) for adapter in (1, 2, 3)]
    for lease in leases:
        bench.add(lease, *range(900))
    assert COMMIT_ROWS < 3 * 900
    await bench.committer.flush()
    assert bench.committer.commit_count == 1
    assert (await bench.stores.jobs.get_job("job_1")).counts.succeeded == 2700


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_stored_twice(bench: Bench) -> None:
    leases = LosesAnswers(bench.stores, times=2)
    bench.committer._leases = leases  # type: ignore[assignment]
    lease = await bench.claim()
    bench.add(lease, 0, 1, 2, 3, 4)
    await bench.committer.flush()
    assert leases.times == 0
    assert (await bench.stores.jobs.get_job("job_1")).counts.succeeded == 5
    assert [len(told.leases) for told in bench.told] == [1]
    assert bench.told[0].lost == []


async def test_results_of_a_lost_lease_are_told_and_thrown_away(bench: Bench) -> None:
    lease = await bench.claim()
    await bench.stores.leases.register_scheduler("s2", LEASE, exclusive=True)
    bench.add(lease, 0)
    await bench.committer.flush()
    assert [told.lost for told in bench.told] == [[lease]]
    assert (await bench.stores.jobs.get_job("job_1")).counts.succeeded == 0


async def test_a_lease_is_given_back_only_behind_its_results(bench: Bench) -> None:
    lease = await bench.claim()
    bench.add(lease, 3)
    bench.committer.release(lease)
    await bench.committer.flush()
    again = await bench.claim()
    assert (again.done, again.epoch) == (0b1000, lease.epoch + 1)


async def test_too_many_results_that_wait_stop_new_rows(bench: Bench) -> None:
    lease = await bench.claim()
    stuck = LosesAnswers(bench.stores, times=10**9)
    bench.committer._leases = stuck  # type: ignore[assignment]
    for _ in range(CONGESTED_ROWS // 5 + 1):
        bench.add(lease, 0, 1, 2, 3, 4)
    assert bench.committer.congested
    bench.committer._batch.chunks.clear()


@pytest.mark.parametrize("newer_first", [False, True])
async def test_results_of_a_lost_lease_are_not_stored_under_the_next_lease_of_the_chunk(
    bench: Bench, *, newer_first: bool
) -> None:
    late = await bench.claim()
    await bench.stores.leases.release_chunks("s1", [late])
    newer = await bench.claim()
    for lease, rows in sorted([(late, (0, 1)), (newer, (0,))], key=lambda pair: pair[0].epoch, reverse=newer_first):
        bench.add(lease, *rows)
    bench.add(newer, 2)
    await bench.committer.flush()
    assert (await bench.stores.jobs.get_job("job_1")).counts.succeeded == 2
    assert [[lease.epoch for lease in told.leases] for told in bench.told] == [[newer.epoch]]
    assert newer.done == 0b101
