"""The model's statements do what those of `queries.sql` do: random ways through it, played on a real PostgreSQL."""

import random
from typing import Any

import pytest
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.errors import NotFoundError, StateConflictError
from lorax_batch_scheduler.job import JobEvent, ResultFile, RowError
from lorax_batch_scheduler.ports import ChunkResults, LeasedChunk, SegmentToStore
from lorax_batch_scheduler.ports.object_store import UploadedPart
from lorax_batch_scheduler.ports.result_store import OutputProgress
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.retention.remains import Remains
from lorax_batch_scheduler.segment import Segment, decode_segment, encode_segment

from tests.integration.postgres.conftest import LEASE, Stores, stores
from tests.model.database import FAILED, NOT_RUN, OK, Database
from tests.model.lease_model import LeaseModel
from tests.model.state import Budget, State
from tests.model.statements import CONFLICT, NOT_FOUND, Call, Lease, Results, execute

__all__ = ["stores"]

WAYS = 12
LONGEST = 60
CHUNK_ROWS = (2, 2)
FILE = ResultFile(key="file", row_count=0, byte_count=0, sha256="")
BUDGET = Budget(
    crashes=2, freezes=1, lost=3, late=2, slow=1, unended=1, faults=1, drains=1,
    cancels=1, expiries=1, aborts=1, pauses=2, deletes=1, retries=1, failures=2,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(WAYS))
async def test_a_random_way_through_the_model_leads_to_the_same_rows_in_postgresql(stores: Stores, seed: int) -> None:
    chance = random.Random(seed)
    model = LeaseModel(budget=BUDGET, chunks=CHUNK_ROWS, exclusive=seed % 6 == 5)
    state = model.initial()
    real = RealDatabase(stores)
    await real.create()
    way: list[str] = []
    for _ in range(LONGEST):
        steps = list(model.steps(state))
        if not steps:
            break
        # Most of the time what helps, or few ways would get anywhere.
        helpful = [step for step in steps if step.helps]
        step = chance.choice(helpful if helpful and chance.random() < 0.75 else steps)
        way.append(step.text)
        await replay(real, state, step.calls, way)
        state = step.state
        assert await real.read() == abstract(state), way
    assert len(way) > 10


async def replay(real: "RealDatabase", state: State, calls: tuple[object, ...], way: list[str]) -> None:
    """Run the calls of a step; their answers must be the model's."""
    db = state.db
    for call in calls:
        assert isinstance(call, Call)
        if call.statement == "expire":
            await real.expire(*call.arguments)
            continue
        before = db
        db, answer = execute(db, call, frozenset())
        assert await getattr(real, call.statement)(before, *call.arguments) == answer, (call, way)


def abstract(state: State) -> tuple[Any, ...]:
    """Return what `RealDatabase.read` should find."""
    db = state.db
    jobs = [
        (str(job.state), str(job.outcome or ""), job.ok, job.failed, job.not_run, job.total, job.has_files)
        for job in db.jobs
        if not job.deleted
    ]
    chunks = [
        (f"job_{chunk.job}", chunk.done, chunk.unsuccessful, chunk.owner, chunk.epoch)
        for chunk in db.chunks
        if not db.jobs[chunk.job].deleted
    ]
    stored = [
        sorted(
            (line_of(db, number, row), kind != OK)
            for number in db.chunks_of(job)
            for row, kind in db.chunks[number].stored
        )
        for job in range(len(db.jobs))
        if not db.jobs[job].deleted
    ]
    finalising = [(f"job_{number}", job.finaliser, job.attempts) for number, job in enumerate(db.jobs) if job.attempts]
    recorded = [f"job_{number}" for number, job in enumerate(db.jobs) if job.parts is not None]
    return jobs, chunks, stored, sorted(db.schedulers), finalising, recorded


def line_of(db: Database, chunk: int, row: int) -> int:
    """Return a line number that tells chunk and row."""
    return 100 * (chunk + 1) + row


class RealDatabase:
    """The calls of the model on the real stores."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._numbers: dict[int, tuple[str, int]] = {}
        """Where each chunk of the model is: job and chunk number."""

    async def create(self) -> None:
        await self._stores.ready_dataset(*CHUNK_ROWS)
        await self._stores.queued_job("job_0")
        self._numbers = {number: ("job_0", number) for number in range(len(CHUNK_ROWS))}
        async with self._stores.database.connection() as connection:
            for table in ("dataset_chunks", "job_chunks"):
                await connection.execute(f"UPDATE {table} SET model = 'a'")

    async def read(self) -> tuple[Any, ...]:
        async with self._stores.database.connection() as connection:
            jobs = await connection.fetch(
                "SELECT job_id, state, coalesce(outcome, ''), succeeded, failed, cancelled, total,"
                " output_file IS NOT NULL FROM jobs ORDER BY job_id"
            )
            chunks = await connection.fetch("SELECT * FROM job_chunks ORDER BY job_id, chunk_no")
            schedulers = await connection.fetch("SELECT scheduler_id, lease_until > now() FROM schedulers ORDER BY 1")
            finalising = await connection.fetch(
                "SELECT job_id, scheduler_id, attempts FROM job_finalising ORDER BY job_id"
            )
            recorded = await connection.fetch("SELECT job_id FROM job_outputs ORDER BY job_id")
            segments = await connection.fetch("SELECT * FROM segments ORDER BY job_id, first_offset")
        stored: dict[str, list[tuple[int, bool]]] = {job["job_id"]: [] for job in jobs}
        for segment in segments:
            lines = decode_segment(segment["blob"]).lines
            stored[segment["job_id"]].extend((line, segment["error"]) for line in lines)
        return (
            [tuple(job)[1:] for job in jobs],
            [(c["job_id"], bits(c["done"]), bits(c["unsuccessful"]), c["scheduler_id"], c["epoch"]) for c in chunks],
            [sorted(lines) for lines in stored.values()],
            [tuple(entry) for entry in schedulers],
            [tuple(entry) for entry in finalising],
            [entry["job_id"] for entry in recorded],
        )

    # --- the calls ---

    async def expire(self, name: str) -> None:
        async with self._stores.database.connection() as connection:
            await connection.execute(
                "UPDATE schedulers SET lease_until = now() - interval '1 s' WHERE scheduler_id = $1", name
            )

    async def register_scheduler(self, db: Database, name: str, exclusive: bool) -> None:
        await self._stores.leases.register_scheduler(name, LEASE, exclusive=exclusive)

    async def renew_scheduler(self, db: Database, name: str) -> bool:
        return await self._stores.leases.renew_scheduler(name, LEASE)

    async def unregister_scheduler(self, db: Database, name: str) -> None:
        await self._stores.leases.unregister_scheduler(name)

    async def claim_chunk(self, db: Database, name: str, job: int) -> Lease | None:
        leases = await self._stores.leases.claim_chunks(name, f"job_{job}", ChunkKind.ROWS, "a", 1)
        return self._lease(leases[0]) if leases else None

    async def release_chunks(self, db: Database, name: str, leases: tuple[tuple[int, int], ...]) -> None:
        await self._stores.leases.release_chunks(name, [self._leased(*lease) for lease in leases])

    async def release_forgotten(self, db: Database, name: str, known: tuple[int, ...]) -> None:
        await self._stores.leases.release_forgotten(name, [self._leased(chunk, 0) for chunk in known])

    async def fence_job(self, db: Database, name: str, job: int) -> tuple[Lease, ...]:
        return tuple(self._lease(lease) for lease in await self._stores.leases.fence_job(name, f"job_{job}"))

    async def commit_results(self, db: Database, name: str, given: tuple[Results, ...]) -> frozenset[int]:
        receipt = await self._stores.leases.commit_results(name, [self._results(db, results) for results in given], [])
        back = {place: number for number, place in self._numbers.items()}
        return frozenset(back[place] for place in receipt.accepted)

    async def move_job(self, db: Database, job: int, event: JobEvent) -> str:
        try:
            return str((await self._stores.jobs.move_job(f"job_{job}", event)).state)
        except StateConflictError:
            return CONFLICT

    # The three of `ResultStore.finalising`, apart: a scheduler that dies comes to none of the endings.

    async def claim_finalising(self, db: Database, name: str, job: int) -> int:
        async with self._stores.database.connection() as connection:
            return await connection.fetchval(SQL.claim_finalising, name, f"job_{job}") or 0

    async def end_finalising(self, db: Database, name: str, job: int) -> None:
        async with self._stores.database.connection() as connection:
            await connection.execute(SQL.end_finalising, f"job_{job}", name)

    async def fail_finalising(self, db: Database, name: str, job: int) -> None:
        async with self._stores.database.connection() as connection:
            await connection.execute(SQL.fail_finalising, f"job_{job}", name)

    async def every_row_settled(self, db: Database, job: int) -> bool:
        return await self._stores.results.every_row_settled(f"job_{job}")

    async def save_output_progress(self, db: Database, job: int, parts: tuple[object, ...]) -> None:
        recorded = [UploadedPart(number=1, size_bytes=len(parts), token="")]
        progress = OutputProgress(key="file", upload_id="upload", parts=recorded)
        await self._stores.results.save_output_progress(f"job_{job}", error=False, progress=progress)

    async def forget_output_progress(self, db: Database, job: int) -> None:
        await self._stores.results.forget_output_progress(f"job_{job}", error=False)

    async def abandon_job(self, db: Database, job: int) -> str:
        try:
            return str((await self._stores.results.abandon_job(f"job_{job}", "given up")).state)
        except StateConflictError:
            return CONFLICT

    async def finish_job(self, db: Database, job: int) -> str:
        try:
            return str((await self._stores.results.finish_job(f"job_{job}", FILE, FILE)).state)
        except StateConflictError:
            return CONFLICT
        except NotFoundError:
            return NOT_FOUND

    async def retry_job(self, db: Database, job: int) -> str:
        new = f"job_{len(db.jobs)}"
        try:
            created = await self._stores.jobs.retry_job(f"job_{job}", new_job_id=new, request_id=None)
        except StateConflictError:
            return CONFLICT
        async with self._stores.database.connection() as connection:
            numbers = await connection.fetch("SELECT chunk_no FROM job_chunks WHERE job_id = $1 ORDER BY 1", new)
        for record in numbers:
            self._numbers[len(self._numbers)] = (new, record["chunk_no"])
        return str(created.state)

    async def delete_job(self, db: Database, job: int) -> str:
        await self._stores.jobs.delete_job(f"job_{job}")
        await Remains(self._stores.retention, clock=SystemClock()).of(f"job_{job}")
        return "deleted"

    # --- translation ---

    def _lease(self, lease: LeasedChunk) -> Lease:
        back = {place: number for number, place in self._numbers.items()}
        return Lease(back[lease.job_id, lease.chunk_no], lease.epoch, lease.done)

    def _leased(self, chunk: int, epoch: int) -> LeasedChunk:
        job_id, chunk_no = self._numbers[chunk]
        return LeasedChunk(
            job_id=job_id, chunk_no=chunk_no, epoch=epoch, kind=ChunkKind.ROWS, endpoint="", model="a",
            adapter_source="", row_count=2, done=0, pack_key="", offset=0, byte_count=0,
        )  # fmt: skip

    def _results(self, db: Database, results: Results) -> ChunkResults:
        job_id, chunk_no = self._numbers[results.chunk]
        kinds = [kind for _, kind in results.results]
        segments = []
        for error in (False, True):
            lines = [line_of(db, results.chunk, row) for row, kind in results.results if (kind != OK) == error]
            if lines:
                segments.append(
                    SegmentToStore(
                        error=error,
                        row_count=len(lines),
                        first_line=min(lines),
                        last_line=max(lines),
                        byte_count=1,
                        blob=encode_segment(Segment(lines, b"x")),
                    )
                )
        return ChunkResults(
            job_id=job_id, chunk_no=chunk_no, epoch=results.epoch, row_count=2, done=results.done,
            unsuccessful=sum(1 << row for row, kind in results.results if kind != OK),
            succeeded=kinds.count(OK), failed=kinds.count(FAILED), cancelled=kinds.count(NOT_RUN), expired=0, invalid=0,
            prompt_tokens=0, completion_tokens=0,
            errors=[RowError(line=1, custom_id="", code="c", message="") for kind in kinds if kind == FAILED],
            segments=segments,
        )  # fmt: skip


def bits(stored: Any) -> int:
    """Read a bit set of rows."""
    return int.from_bytes(stored.bytes, "little")
