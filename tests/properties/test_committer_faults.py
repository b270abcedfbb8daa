"""Whatever becomes of the committer's requests and their answers, every row is stored once."""

import asyncio
import itertools
import math
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.ports import ChunkResults, CommitReceipt, JobActivity, LeasedChunk
from lorax_batch_scheduler.scheduling.committer import Committed, Committer
from lorax_batch_scheduler.segment import decode_segment
from lorax_batch_scheduler.work import RowOutcome

from tests.integration.postgres.conftest import LEASE, Stores, stores
from tests.properties.effort import examples

__all__ = ["stores"]

_numbers = itertools.count(1)
ROWS = 20
fates = st.lists(st.sampled_from(["fine", "unheard", "never sent", "late", "not released"]), max_size=12)


class Impatient(SystemClock):
    """A clock on which waiting takes no time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class FaultyLeases:
    """The real lease store behind a connection that fails as the script says, and works when that is over."""

    def __init__(self, stores: Stores, script: list[str]) -> None:
        self._leases = stores.leases
        self._script = iter(script)
        self._late: list[tuple[str, Sequence[ChunkResults]]] = []
        self._release_fails = False

    async def commit_results(
        self, name: str, results: Sequence[ChunkResults], activity: Sequence[JobActivity]
    ) -> CommitReceipt:
        fate = next(self._script, "fine")
        self._release_fails = fate == "not released"
        if fate == "late":
            self._late.append((name, results))
        if fate in ("late", "never sent"):
            raise DatabaseError("the connection was lost before the request arrived")
        receipt = await self._leases.commit_results(name, results, activity)
        if fate == "unheard":
            raise DatabaseError("the connection was lost before the answer arrived")
        await self.let_late_ones_arrive()
        return receipt

    async def let_late_ones_arrive(self) -> None:
        while self._late:
            name, results = self._late.pop()
            await self._leases.commit_results(name, results, [])

    async def release_chunks(self, name: str, chunks: Sequence[LeasedChunk]) -> None:
        if self._release_fails:
            self._release_fails = False
            raise DatabaseError("the connection was lost between commit and release")
        await self._leases.release_chunks(name, chunks)


@examples(20)
@given(script=fates, order=st.permutations(range(2 * ROWS)), flushes=st.sets(st.integers(0, 2 * ROWS), max_size=6))
async def test_each_row_is_stored_once(stores: Stores, script: list[str], order: list[int], flushes: set[int]) -> None:
    """Two chunks, their rows answered in any order; half-way the second chunk is given back and claimed again."""
    number = next(_numbers)
    job_id, name = f"job_{number}", f"s{number}"
    await stores.ready_dataset(ROWS, ROWS, dataset_id=f"ds_{number}")
    await stores.queued_job(job_id, f"ds_{number}")
    await stores.leases.register_scheduler(name, LEASE, exclusive=False)
    told: list[Committed] = []
    faulty = FaultyLeases(stores, script)
    committer = Committer(
        leases=faulty,  # type: ignore[arg-type]
        scheduler_id=lambda: name,
        sure_until=lambda: math.inf,
        interval=timedelta(milliseconds=1),
        clock=Impatient(),
        activity=list,
        on_commit=told.append,
    )

    async def claim(chunk: int) -> LeasedChunk:
        (lease,) = await stores.leases.claim_chunks(name, job_id, ChunkKind.ROWS, f"adapter-{chunk}", 1)
        return lease

    running = asyncio.create_task(committer.run())
    try:
        leases = [await claim(0), await claim(1)]
        for place, row_of_both in enumerate(order):
            if place == ROWS:
                committer.release(leases[1])
                await committer.flush()
                leases[1] = await claim(1) if not all(row < ROWS for row in order[place:]) else leases[1]
            chunk, row = divmod(row_of_both, ROWS)
            outcome = RowOutcome.FAILED if row % 7 == 3 else RowOutcome.SUCCEEDED
            committer.add(leases[chunk], row, row_of_both + 1, b"{}\n", outcome, 1, 1)
            if place in flushes:
                await committer.flush()
        await committer.flush()
        await faulty.let_late_ones_arrive()
    finally:
        running.cancel()
        await asyncio.wait([running])
    job = await stores.jobs.get_job(job_id)
    assert (job.counts.total, job.counts.ended) == (2 * ROWS, 2 * ROWS)
    assert job.counts.failed == sum(row % ROWS % 7 == 3 for row in order)
    assert job.prompt_tokens == 2 * ROWS
    stored = await stores.results.segments(job_id, first_offset=0, error=None, max_bytes=1 << 20)
    assert sorted(line for segment in stored for line in decode_segment(segment.blob).lines) == list(
        range(1, 2 * ROWS + 1)
    )
    assert [lease for committed in told for lease in committed.lost] == []
