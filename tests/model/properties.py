"""What must hold in every state, and over every step."""

from lorax_batch_scheduler.job import RUNNABLE_STATES, JobState

from tests.model.database import Database
from tests.model.state import State


def broken(state: State) -> str | None:
    """Say what is wrong with a state."""
    if state.wrong:
        return state.wrong
    db = state.db
    for number, job in enumerate(db.jobs):
        stored = sum(len(db.chunks[chunk].stored) for chunk in db.chunks_of(number))
        if job.deleted:
            if state.objects[number] is not None and not any(p.ending for p in state.processes):
                return f"job {number} is deleted, but there is a file of it"
        elif job.result_count != stored:
            return f"job {number} counts {job.result_count} results, but {stored} are stored"
        elif job.result_count > job.total:
            return f"job {number} has more results than rows (results_fit)"
        elif job.state.terminal and job.result_count != job.total:
            return f"job {number} has ended without a result for every row (ended_is_complete)"
        elif job.state.terminal and job.outcome is not job.state:
            return f"job {number} is {job.state}, but {job.outcome} was decided"
    return _broken_chunk(db) or _two_owners(state) or _too_many_calls(state)


def given_up_too_early(state: State, misfortunes: int) -> str | None:
    """Say whether a job is blamed for more than happened."""
    for number, job in enumerate(state.db.jobs):
        if job.attempts > 1 + misfortunes:
            return f"job {number} counts {job.attempts} attempts to end it after {misfortunes} misfortunes"
    return None


def _broken_chunk(db: Database) -> str | None:
    for number, chunk in enumerate(db.chunks):
        rows = [row for row, _ in chunk.stored]
        if len(set(rows)) < len(rows):
            return f"a row of chunk {number} has two results"
        if chunk.complete and chunk.owner is not None:
            return f"chunk {number} is complete, but {chunk.owner} holds it (complete_is_free)"
        if any(not chunk.done >> row & 1 for row in rows):
            return f"a row of chunk {number} has a result, but is not done"
    return None


def _two_owners(state: State) -> str | None:
    """Of those who work on a chunk, or write down that it was not run, one at most can commit."""
    for number, chunk in enumerate(state.db.chunks):
        able = [
            (process_number, work.epoch)
            for process_number, process in enumerate(state.processes)
            for work in process.works
            if work.chunk == number
            and work.epoch == chunk.epoch
            and chunk.owner == f"{'abc'[process_number]}{process.generation}"
        ]
        if len(able) > 1:
            return f"{len(able)} can commit to chunk {number}"
    return None


def _too_many_calls(state: State) -> str | None:
    for chunk, calls_left in enumerate(state.calls_left):
        for row, left in enumerate(calls_left):
            if left < 0:
                return f"row {row} of chunk {chunk} was sent more often than 1 + crashes + lost leases"
    return None


def _finalises(state: State, name: str | None) -> bool:
    return any(process.ending is not None and process.ending.name == name for process in state.processes)


def broken_step(before: State, after: State) -> str | None:
    """Say what is wrong with a step."""
    if before.db is after.db:
        return None
    for number, (old, new) in enumerate(zip(before.db.jobs, after.db.jobs, strict=False)):
        if new.deleted:
            continue
        if old.state.terminal and (new.state, new.ok, new.failed, new.not_run, new.has_files) != (
            old.state, old.ok, old.failed, old.not_run, old.has_files
        ):  # fmt: skip
            return f"job {number} had ended as {old.state}, and is {new.state} now"
        abandoned = new.state is JobState.FAILED and not new.has_files
        if old.state is JobState.FINALIZING and old.outcome is not new.outcome and not abandoned:
            return f"job {number} was to become {old.outcome}, and is to become {new.outcome} now"
        if new.finaliser not in (None, old.finaliser) and not before.db.is_alive(new.finaliser):
            return f"{new.finaliser} is to end job {number}, and may be dead for the others"
        if old.finaliser != new.finaliser and before.db.is_alive(old.finaliser) and _finalises(after, old.finaliser):
            return f"{old.finaliser} is alive and ends job {number}, and has lost it to {new.finaliser}"
    for number, (was, now) in enumerate(zip(before.db.chunks, after.db.chunks, strict=False)):
        if now.epoch < was.epoch:
            return f"the epoch of chunk {number} went back"
        taken = now.owner not in (None, was.owner) and after.db.jobs[now.job].state in RUNNABLE_STATES
        if taken and not before.db.is_alive(now.owner):
            return f"chunk {number} is leased to {now.owner}, which may be dead for the others"
        if not after.db.jobs[now.job].deleted and any(result not in now.stored for result in was.stored):
            return f"a committed result of chunk {number} is gone"
    return None
