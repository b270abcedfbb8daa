"""The statements of `queries.sql` that the protocol stands on, as pure functions; each is one atomic step.

The conformance test runs the same calls on a real PostgreSQL and compares: a change of a statement must come here too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.job import OUTCOMES, RUNNABLE_STATES, SETTLING_STATES, JobEvent, JobState, next_state

from tests.model.database import FAILED, NOT_RUN, OK, Database, Job, Result
from tests.model.defects import Defect

Defects = frozenset[Defect]


class Lease(NamedTuple):
    """A leased chunk as a process got it."""

    chunk: int
    epoch: int
    done: int


class Results(NamedTuple):
    """Results of rows of a chunk under one lease."""

    chunk: int
    epoch: int
    results: tuple[Result, ...]

    @property
    def done(self) -> int:
        bits = 0
        for row, _ in self.results:
            bits |= 1 << row
        return bits


class Call(NamedTuple):
    """A statement with its arguments."""

    statement: str
    arguments: tuple[Any, ...]


CONFLICT = "StateConflictError"
NOT_FOUND = "NotFoundError"
"""The answers of a statement that was refused."""


def register_scheduler(db: Database, defects: Defects, name: str, exclusive: bool) -> tuple[Database, None]:
    """INSERT INTO schedulers; exclusive: remove_other_schedulers; free_orphaned_chunks."""
    others = () if exclusive else db.schedulers
    db = db._replace(schedulers=tuple(sorted([*others, (name, True)])))
    return _free_orphaned_chunks(db, defects), None


def renew_scheduler(db: Database, defects: Defects, name: str) -> tuple[Database, bool]:
    """UPDATE, late or not; unless it was late: remove_dead_schedulers; if any was: free_orphaned_chunks."""
    renewed = tuple((known, ahead or known == name) for known, ahead in db.schedulers)
    if (name, False) in db.schedulers:
        return db._replace(schedulers=renewed), True
    everyone = Defect.FREES_THE_LIVING in defects
    left = tuple((known, ahead) for known, ahead in renewed if known == name or (ahead and not everyone))
    if left != db.schedulers:
        db = db._replace(schedulers=left)
    if len(left) < len(renewed) and Defect.ORPHANS_STAY not in defects:
        db = _free_orphaned_chunks(db, defects)
    return db, (name, True) in left or Defect.RENEWS_THE_REMOVED in defects


def unregister_scheduler(db: Database, defects: Defects, name: str) -> tuple[Database, None]:
    """DELETE FROM schedulers; free_orphaned_chunks."""
    db = db._replace(schedulers=tuple(entry for entry in db.schedulers if entry[0] != name))
    return _free_orphaned_chunks(db, defects), None


def _free_orphaned_chunks(db: Database, defects: Defects) -> Database:
    """SET scheduler_id = NULL, epoch = epoch + 1 WHERE NOT EXISTS (... schedulers ...)."""
    known = {name for name, _ in db.schedulers}
    moves = Defect.ORPHANS_KEEP_EPOCH not in defects
    for number, chunk in enumerate(db.chunks):
        if chunk.owner is not None and chunk.owner not in known:
            db = db.with_chunk(number, chunk._replace(owner=None, epoch=chunk.epoch + moves))
    return db


def claim_chunk(db: Database, defects: Defects, name: str, job: int) -> tuple[Database, Lease | None]:
    """claim_chunks with a limit of one: `alive`, `runnable`, `free` in storage order, `leased`."""
    if not db.is_alive(name) and Defect.CLAIM_BY_THE_DEAD not in defects:
        return db, None
    runnable = db.jobs[job].state in RUNNABLE_STATES or Defect.CLAIM_IGNORES_STATE in defects
    if db.jobs[job].deleted or not runnable:
        return db, None
    for number in db.chunks_of(job):
        chunk = db.chunks[number]
        if chunk.complete or (chunk.owner is not None and Defect.CLAIM_TAKES_LEASED not in defects):
            continue
        epoch = chunk.epoch + (Defect.CLAIM_KEEPS_EPOCH not in defects)
        done = 0 if Defect.SENDS_DONE_ROWS in defects else chunk.done
        return db.with_chunk(number, chunk._replace(owner=name, epoch=epoch)), Lease(number, epoch, done)
    return db, None


def release_chunks(
    db: Database, defects: Defects, name: str, leases: tuple[tuple[int, int], ...]
) -> tuple[Database, None]:
    """SET scheduler_id = NULL WHERE epoch = given.epoch AND scheduler_id = $1."""
    for number, epoch in leases:
        chunk = db.chunks[number]
        same = chunk.epoch == epoch or Defect.RELEASE_IGNORES_EPOCH in defects
        if (same and chunk.owner == name) or Defect.RELEASE_IGNORES_LEASE in defects:
            db = db.with_chunk(number, chunk._replace(owner=None))
    return db, None


def release_forgotten(db: Database, defects: Defects, name: str, known: tuple[int, ...]) -> tuple[Database, None]:
    """SET scheduler_id = NULL WHERE state runnable or paused, scheduler_id = $1 and the chunk is none of the known."""
    states = RUNNABLE_STATES if Defect.FORGOTTEN_SKIPS_PAUSED in defects else RUNNABLE_STATES | {JobState.PAUSED}
    for number, chunk in enumerate(db.chunks):
        if chunk.owner == name and number not in known and db.jobs[chunk.job].state in states:
            db = db.with_chunk(number, chunk._replace(owner=None))
    return db, None


def fence_job(db: Database, defects: Defects, name: str, job: int) -> tuple[Database, tuple[Lease, ...]]:
    """`settling`: CANCELLING or FINALIZING; `leased`: SET scheduler_id = $1, epoch + 1 WHERE done_count < row_count."""
    leases = []
    if not db.jobs[job].deleted and db.jobs[job].state in SETTLING_STATES:
        for number in db.chunks_of(job):
            chunk = db.chunks[number]
            if not chunk.complete:
                epoch = chunk.epoch + (Defect.FENCE_KEEPS_EPOCH not in defects)
                owner = chunk.owner if Defect.FENCE_KEEPS_OWNER in defects else name
                db = db.with_chunk(number, chunk._replace(owner=owner, epoch=epoch))
                leases.append(Lease(number, epoch, chunk.done))
    return db, tuple(leases)


def commit_results(
    db: Database, defects: Defects, name: str, given: tuple[Results, ...]
) -> tuple[Database, frozenset[int]]:
    """`unfinished`, `before` (stored already), `accepted`, `counted`, `stored`. Returns the chunks of `accepted`."""
    told = set()
    for results in given:
        chunk, bits = db.chunks[results.chunk], results.done
        if db.jobs[chunk.job].deleted:
            continue
        same_epoch = chunk.epoch == results.epoch or Defect.COMMIT_IGNORES_EPOCH in defects
        if same_epoch and chunk.done & bits == bits and Defect.RESENT_IS_LOST not in defects:
            told.add(results.chunk)
        owned = chunk.owner == name
        apart = not chunk.done & bits or Defect.COMMIT_REPEATS in defects
        if not db.jobs[chunk.job].state.terminal and same_epoch and owned and apart:
            told.add(results.chunk)
            db = _store(db, results)
    return db, frozenset(told)


def _store(db: Database, results: Results) -> Database:
    chunk = db.chunks[results.chunk]
    done = chunk.done | results.done
    bad = chunk.unsuccessful
    for row, kind in results.results:
        bad |= (kind != OK) << row
    chunk = chunk._replace(
        done=done,
        unsuccessful=bad,
        owner=chunk.owner if done.bit_count() < chunk.rows else None,
        stored=tuple(sorted(chunk.stored + results.results)),
    )
    job = db.jobs[chunk.job]
    kinds = [kind for _, kind in results.results]
    job = job._replace(
        ok=job.ok + kinds.count(OK),
        failed=job.failed + kinds.count(FAILED),
        not_run=job.not_run + kinds.count(NOT_RUN),
    )
    return db.with_chunk(results.chunk, chunk).with_job(chunk.job, job)


def move_job(db: Database, defects: Defects, number: int, event: JobEvent) -> tuple[Database, str]:
    """lock_job, `next_state`, move_job."""
    job = db.jobs[number]
    if job.deleted:
        return db, NOT_FOUND
    state = job.state
    if Defect.MOVE_FROM_ANY_STATE in defects and state.terminal:
        state = JobState.RUNNING
    try:
        target = next_state("", state, event, job.outcome)
    except StateConflictError:
        return db, CONFLICT
    decided = OUTCOMES.get(event) or (target if target.terminal else None)
    return db.with_job(number, job._replace(state=target, outcome=job.outcome or decided)), str(target)


def claim_finalising(db: Database, defects: Defects, name: str, number: int) -> tuple[Database, int]:
    """`alive`, `settling`, INSERT ... ON CONFLICT: the number of the attempt; 0: somebody else is at it.

    `not_before` is left out: it only makes others wait.
    """
    job = db.jobs[number]
    if not db.is_alive(name) and Defect.FINALISING_BY_THE_DEAD not in defects:
        return db, 0
    if job.deleted or job.state not in SETTLING_STATES:
        return db, 0
    if job.finaliser == name:
        attempts = job.attempts + (Defect.COUNTS_THE_SAME_OWNER in defects)
    else:
        held = db.is_alive(job.finaliser) and Defect.FINALISING_FROM_THE_LIVING not in defects
        if held or (job.finaliser is not None and Defect.FINALISING_STAYS in defects):
            return db, 0
        attempts = job.attempts + 1
    return db.with_job(number, job._replace(finaliser=name, attempts=attempts)), attempts


def end_finalising(db: Database, defects: Defects, name: str, number: int) -> tuple[Database, None]:
    """DELETE FROM job_finalising WHERE scheduler_id = $2."""
    if db.jobs[number].finaliser == name or Defect.ENDS_ANOTHERS_FINALISING in defects:
        db = db.with_job(number, db.jobs[number]._replace(finaliser=None, attempts=0))
    return db, None


def fail_finalising(db: Database, defects: Defects, name: str, number: int) -> tuple[Database, None]:
    """SET scheduler_id = NULL WHERE scheduler_id = $2: the attempts stay."""
    if db.jobs[number].finaliser == name:
        db = db.with_job(number, db.jobs[number]._replace(finaliser=None))
    return db, None


def every_row_settled(db: Database, defects: Defects, number: int) -> tuple[Database, bool]:
    """state IN ('CANCELLING', 'FINALIZING') AND result_count = total."""
    job = db.jobs[number]
    return db, not job.deleted and job.state in SETTLING_STATES and job.result_count == job.total


def save_output_progress(
    db: Database, defects: Defects, number: int, parts: tuple[tuple[int, int, str], ...]
) -> tuple[Database, None]:
    """INSERT ... ON CONFLICT DO UPDATE, attempts = 1; nothing for a job that is deleted (a foreign key)."""
    job = db.jobs[number]
    if job.deleted:
        return db, None
    return db.with_job(number, job._replace(parts=parts, attempts=min(job.attempts, 1))), None


def forget_output_progress(db: Database, defects: Defects, number: int) -> tuple[Database, None]:
    """DELETE FROM job_outputs."""
    return db.with_job(number, db.jobs[number]._replace(parts=None)), None


def abandon_job(db: Database, defects: Defects, number: int) -> tuple[Database, str]:
    """abandon_files WHERE settling AND result_count = total, then the move FINISH."""
    job = db.jobs[number]
    complete = job.result_count == job.total or Defect.ABANDON_WITHOUT_ALL_ROWS in defects
    if job.deleted or job.state not in SETTLING_STATES or not complete:
        return db, CONFLICT
    return move_job(db.with_job(number, job._replace(outcome=JobState.FAILED)), defects, number, JobEvent.FINISH)


def finish_job(db: Database, defects: Defects, number: int) -> tuple[Database, str]:
    """store_files WHERE result_count = total, then the move FINISH."""
    job = db.jobs[number]
    if job.deleted:
        return db, NOT_FOUND
    if job.result_count != job.total and Defect.FINISH_WITHOUT_ALL_ROWS not in defects:
        return db, CONFLICT
    moved, answer = move_job(db, defects, number, JobEvent.FINISH)
    if answer == CONFLICT and not (job.state.terminal and Defect.FINISH_AFTER_THE_END in defects):
        return db, CONFLICT
    return moved.with_job(number, moved.jobs[number]._replace(has_files=True)), answer


def retry_job(db: Database, defects: Defects, number: int) -> tuple[Database, str]:
    """create_job and retry_job_chunks: chunks with rows in the error file; all their other rows count as done."""
    old = db.jobs[number]
    if old.deleted or not old.state.terminal:
        return db, CONFLICT
    created = []
    for chunk_number in db.chunks_of(number):
        chunk = db.chunks[chunk_number]
        if chunk.unsuccessful:
            done = chunk.done & ~chunk.unsuccessful
            created.append(chunk._replace(job=len(db.jobs), done=done, unsuccessful=0, owner=None, epoch=0, stored=()))
    if not created:
        return db, CONFLICT
    total = sum(chunk.rows - chunk.done.bit_count() for chunk in created)
    return db._replace(jobs=(*db.jobs, Job(total)), chunks=(*db.chunks, *created)), str(JobState.QUEUED)


def delete_job(db: Database, defects: Defects, number: int) -> tuple[Database, str]:
    """Only a job that has ended; its chunks, segments and recorded parts go with it."""
    job = db.jobs[number]
    if job.deleted or not job.state.terminal:
        return db, CONFLICT
    for chunk_number in db.chunks_of(number):
        chunk = db.chunks[chunk_number]
        db = db.with_chunk(chunk_number, chunk._replace(owner=None, stored=()))
    return db.with_job(number, job._replace(deleted=True, parts=None, finaliser=None, attempts=0)), "deleted"


STATEMENTS: dict[str, Callable[..., tuple[Database, Any]]] = {
    statement.__name__: statement
    for statement in (
        register_scheduler, renew_scheduler, unregister_scheduler, claim_chunk, release_chunks, release_forgotten,
        fence_job, commit_results, move_job, claim_finalising, end_finalising, fail_finalising, every_row_settled,
        save_output_progress, forget_output_progress, abandon_job, finish_job, retry_job, delete_job,
    )
}  # fmt: skip


def execute(db: Database, call: Call, defects: Defects) -> tuple[Database, Any]:
    """Run a call; return the database behind it and its answer."""
    return STATEMENTS[call.statement](db, defects, *call.arguments)
