"""Gathers results and commits them: every 250 ms or 2,000 rows, in one statement for all jobs.

A row is done only when its segment is committed. What a crash runs again is what is in flight plus what was gathered
since the last commit.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import RowError
from lorax_batch_scheduler.ports.lease import ChunkResults, CommitReceipt, JobActivity, LeasedChunk, SegmentToStore
from lorax_batch_scheduler.ports.lease_store import LeaseStore
from lorax_batch_scheduler.segment import Segment, encode_segment
from lorax_batch_scheduler.telemetry.tally import Tally
from lorax_batch_scheduler.work import RowOutcome

COMMIT_ROWS: Final = 2_000
MIN_INTERVAL_S: Final = 0.1
"""However fast rows come: a commit costs PostgreSQL about 0.3 ms and a sync of its log, whatever its size."""
CONGESTED_ROWS: Final = 8 * COMMIT_ROWS
CONGESTED_BYTES: Final = 64 << 20
RETRY_INTERVAL_S: Final = 0.5
ACTIVITY_INTERVAL_S: Final = 1.0
SAMPLED_ERRORS: Final = 20

_log = structlog.get_logger()


@dataclass(slots=True)
class Lines:
    """Result lines of one kind of one chunk."""

    rows: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Gathered:
    """Results of one chunk since the last commit."""

    lease: LeasedChunk
    output: Lines = field(default_factory=Lines)
    error: Lines = field(default_factory=Lines)
    outcomes: dict[RowOutcome, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    errors: list[RowError] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """What one commit takes along."""

    chunks: dict[tuple[str, int], Gathered] = field(default_factory=dict)
    releases: list[LeasedChunk] = field(default_factory=list)
    row_count: int = 0
    byte_count: int = 0
    stored: asyncio.Event = field(default_factory=asyncio.Event)

    def __bool__(self) -> bool:
        return bool(self.chunks or self.releases)

    def of_lease(self, lease: LeasedChunk) -> Gathered | None:
        """Return what was gathered under a lease; None when its chunk was leased anew meanwhile.

        A chunk may be leased again while rows of its earlier lease are still in flight (a lost lease, a job that is
        settled). What those bring can't be stored any more, and must not be stored under the newer lease.
        """
        key = (lease.job_id, lease.chunk_no)
        gathered = self.chunks.get(key)
        if gathered is not None and gathered.lease.epoch > lease.epoch:
            return None
        if gathered is None or gathered.lease.epoch < lease.epoch:
            gathered = self.chunks[key] = Gathered(lease)
        return gathered


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedRows:
    """Rows of one chunk that succeeded, and whose results were just stored."""

    lease: LeasedChunk
    rows: list[int]
    """By their index in the chunk."""
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What the committer tells the scheduler after each commit."""

    leases: list[LeasedChunk]
    """Chunks whose results were stored."""
    lost: list[LeasedChunk]
    """Chunks that somebody else runs now; their results were thrown away."""
    released: list[LeasedChunk]
    complete_jobs: list[str]
    rows: dict[str, int]
    """Rows stored, by job."""
    tokens: dict[str, int]
    succeeded: list[CommittedRows]
    seconds: float
    """How long PostgreSQL took."""


class Committer:
    """The one writer of results of a process; see `ResultSink`."""

    def __init__(
        self,
        *,
        leases: LeaseStore,
        scheduler_id: Callable[[], str],
        sure_until: Callable[[], float],
        interval: timedelta,
        clock: Clock,
        activity: Callable[[], list[JobActivity]],
        on_commit: Callable[[Committed], None],
        tally: Tally | None = None,
    ) -> None:
        self._leases = leases
        self._scheduler_id = scheduler_id
        self._sure_until = sure_until
        self._interval_s = interval.total_seconds()
        self._clock = clock
        self._activity = activity
        self._on_commit = on_commit
        self._tally = tally or Tally()
        self._batch = Batch()
        self._committing = Batch()
        self._full = asyncio.Event()
        self._urgent = asyncio.Event()
        self._told_activity: list[JobActivity] = []
        self._activity_told_at = 0.0
        self.commit_count = 0

    @property
    def congested(self) -> bool:
        """Whether so much waits to be committed that no new rows should be sent for now."""
        waiting, going = self._batch, self._committing
        return (
            waiting.row_count + going.row_count > CONGESTED_ROWS
            or waiting.byte_count + going.byte_count > CONGESTED_BYTES
        )

    @property
    def send_until(self) -> float:
        """Monotonic seconds: the leases may be lost from then on, so no new rows should be sent."""
        return self._sure_until()

    def add(
        self,
        lease: LeasedChunk,
        row: int,
        line: int,
        text: bytes,
        outcome: RowOutcome,
        prompt_tokens: int,
        completion_tokens: int,
        error: RowError | None = None,
    ) -> None:
        """Take the result of a row; see `ResultSink`."""
        batch = self._batch
        gathered = batch.chunks.get((lease.job_id, lease.chunk_no))
        if gathered is None or gathered.lease is not lease:
            gathered = batch.of_lease(lease)
            if gathered is None:
                return
        kind = gathered.output if outcome is RowOutcome.SUCCEEDED else gathered.error
        kind.rows.append(row)
        kind.lines.append(line)
        kind.texts.append(text)
        gathered.outcomes[outcome] = gathered.outcomes.get(outcome, 0) + 1
        gathered.prompt_tokens += prompt_tokens
        gathered.completion_tokens += completion_tokens
        if error is not None and len(gathered.errors) < SAMPLED_ERRORS:
            gathered.errors.append(error)
        batch.row_count += 1
        batch.byte_count += len(text)
        if batch.row_count >= COMMIT_ROWS:
            self._full.set()

    def release(self, lease: LeasedChunk) -> None:
        """Give a lease back, after what was gathered for it is committed."""
        self._batch.releases.append(lease)

    async def flush(self) -> None:
        """Return when all that was added before the call is committed."""
        for batch in (self._committing, self._batch):
            if batch:
                self._urgent.set()
                self._full.set()
                await batch.stored.wait()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            began = self._clock.monotonic()
            await _wait(self._full, self._interval_s)
            await _wait(self._urgent, began + MIN_INTERVAL_S - self._clock.monotonic())
            self._full.clear()
            self._urgent.clear()
            await self._commit()

    async def _commit(self) -> None:
        activity = self._activity()
        now = self._clock.monotonic()
        stale = activity != self._told_activity and now - self._activity_told_at >= ACTIVITY_INTERVAL_S
        batch = self._batch
        if batch or stale:
            self._committing, self._batch = batch, Batch()
            results = await asyncio.to_thread(_encode, list(batch.chunks.values()))
            await self._store(batch, results, activity)
            self._told_activity, self._activity_told_at = activity, now
            self._committing = Batch()
            batch.stored.set()

    async def _store(self, batch: Batch, results: list[ChunkResults], activity: list[JobActivity]) -> None:
        """Write a batch, again and again while PostgreSQL is away: nothing is given up, new rows wait meanwhile."""
        while True:
            scheduler_id = self._scheduler_id()
            began = self._clock.monotonic()
            try:
                receipt = await self._write(scheduler_id, results, activity)
                seconds = self._clock.monotonic() - began
                await self._give_back(scheduler_id, batch.releases)
                break
            except DatabaseError as error:
                _log.warning("commit_delayed", rows=batch.row_count, error=str(error))
                await self._clock.sleep(RETRY_INTERVAL_S)
        self.commit_count += 1
        stored = {key: result for result in results if (key := (result.job_id, result.chunk_no)) in receipt.accepted}
        for key, result in stored.items():
            batch.chunks[key].lease.done |= result.done
        self._tally.committed(stored.values(), seconds, lost=len(results) - len(stored))
        self._on_commit(
            Committed(
                leases=[batch.chunks[key].lease for key in stored],
                lost=[gathered.lease for key, gathered in batch.chunks.items() if key not in stored],
                released=batch.releases,
                complete_jobs=receipt.complete_jobs,
                rows=_sum_by_job(stored, lambda result: result.done.bit_count()),
                tokens=_sum_by_job(stored, lambda result: result.prompt_tokens + result.completion_tokens),
                succeeded=[_succeeded(batch.chunks[key]) for key in stored if batch.chunks[key].output.rows],
                seconds=seconds,
            )
        )

    @failpoint(before="run.before_commit", after="run.after_commit")
    async def _write(
        self, scheduler_id: str, results: list[ChunkResults], activity: list[JobActivity]
    ) -> CommitReceipt:
        return await self._leases.commit_results(scheduler_id, results, activity)

    @failpoint(before="run.before_release", after="run.after_release")
    async def _give_back(self, scheduler_id: str, leases: list[LeasedChunk]) -> None:
        await self._leases.release_chunks(scheduler_id, leases)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Return when the event is set, or after the time."""
    try:
        async with asyncio.timeout(max(timeout_s, 0.0)):
            await event.wait()
    except TimeoutError:
        pass


def _sum_by_job(stored: dict[tuple[str, int], ChunkResults], amount: Callable[[ChunkResults], int]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for (job_id, _), result in stored.items():
        sums[job_id] = sums.get(job_id, 0) + amount(result)
    return sums


def _succeeded(gathered: Gathered) -> CommittedRows:
    return CommittedRows(
        lease=gathered.lease,
        rows=gathered.output.rows,
        prompt_tokens=gathered.prompt_tokens,
        completion_tokens=gathered.completion_tokens,
    )


def _encode(chunks: list[Gathered]) -> list[ChunkResults]:
    """Compress what was gathered; runs in a thread, where zstd lets the loop go on."""
    return [_results(gathered) for gathered in chunks]


def _results(gathered: Gathered) -> ChunkResults:
    lease, outcomes = gathered.lease, gathered.outcomes
    unsuccessful = _bits(gathered.error.rows, lease.row_count)
    segments = [_segment(lines, error=error) for error, lines in ((False, gathered.output), (True, gathered.error))]
    return ChunkResults(
        job_id=lease.job_id,
        chunk_no=lease.chunk_no,
        epoch=lease.epoch,
        row_count=lease.row_count,
        done=_bits(gathered.output.rows, lease.row_count) | unsuccessful,
        unsuccessful=unsuccessful,
        succeeded=outcomes.get(RowOutcome.SUCCEEDED, 0),
        failed=outcomes.get(RowOutcome.FAILED, 0),
        cancelled=outcomes.get(RowOutcome.CANCELLED, 0),
        expired=outcomes.get(RowOutcome.EXPIRED, 0),
        invalid=outcomes.get(RowOutcome.INVALID, 0),
        prompt_tokens=gathered.prompt_tokens,
        completion_tokens=gathered.completion_tokens,
        errors=gathered.errors,
        segments=[segment for segment in segments if segment is not None],
    )


def _segment(lines: Lines, *, error: bool) -> SegmentToStore | None:
    if not lines.rows:
        return None
    text = b"".join(lines.texts)
    return SegmentToStore(
        error=error,
        row_count=len(lines.rows),
        first_line=min(lines.lines),
        last_line=max(lines.lines),
        byte_count=len(text),
        blob=encode_segment(Segment(lines.lines, text)),
    )


def _bits(rows: list[int], row_count: int) -> int:
    bits = bytearray((row_count + 7) // 8)
    for row in rows:
        bits[row >> 3] |= 1 << (row & 7)
    return int.from_bytes(bits, "little")
