"""What a scheduler does to end a job; see `JobEnding`, `Finaliser` and `OutputFile`."""

from collections.abc import Iterator

from lorax_batch_scheduler.job import RUNNABLE_STATES, SETTLING_STATES, JobEvent, JobState

from tests.model.database import NOT_RUN
from tests.model.defects import Defect
from tests.model.explorer import Step
from tests.model.state import Ending, State, gather
from tests.model.statements import CONFLICT, NOT_FOUND, Call
from tests.model.surroundings import Surroundings, name_of, step


def settling_steps(around: Surroundings, number: int) -> Iterator[Step[State]]:
    """Yield what a process may do next."""
    state, process = around.state, around.state.processes[number]
    if process.ending is not None:
        yield from _PHASES[process.ending.phase](around, number, process.ending)
        return
    for job_number, job in enumerate(state.db.jobs):
        if job.deleted:
            continue
        if job.state in RUNNABLE_STATES | {JobState.PAUSED} and job.result_count >= job.total:
            call = Call("move_job", (job_number, JobEvent.ROWS_DONE))
            after, _ = around.ask(state, call)
            yield step(f"job {job_number} has all its results", after, call)
        if job.state in SETTLING_STATES:
            # Its rows in flight have ended, or have had their time.
            ending = Ending(job_number, "claim", name_of(number, process))
            after = state.with_process(number, process._replace(ending=ending))
            yield step(f"{name_of(number, process)} is to end job {job_number}", after)


def _claim(around: Surroundings, number: int, ending: Ending) -> Iterator[Step[State]]:
    """See `ResultStore.finalising`; the name may have changed since, and is the newest one here."""
    state, process = around.state, around.state.processes[number]
    if process.batch or process.sending:
        return  # it flushes first
    ending = ending._replace(name=name_of(number, process))
    call = Call("claim_finalising", (ending.name, ending.job))
    after, (attempt,) = around.ask(state, call)
    following = ending._replace(phase="fence", abandons=attempt > around.max_attempts) if attempt else None
    text = f"{ending.name} is to finalise job {ending.job}: attempt {attempt or 'refused'}"
    yield step(text, after.with_process(number, process._replace(ending=following)), call)
    if around.may("unended") and after is not state:
        after = after._replace(budget=around.spent("unended"))
        deaf = after.with_process(number, process._replace(ending=None))
        yield step(f"{text}; the answer is lost", deaf, call, helps=False)


def _fence(around: Surroundings, number: int, ending: Ending) -> Iterator[Step[State]]:
    state, process = around.state, around.state.processes[number]
    call = Call("fence_job", (ending.name, ending.job))
    after, (leases,) = around.ask(state, call)
    batch = process.batch
    for lease in leases:
        for row in range(state.db.chunks[lease.chunk].rows):
            if not lease.done >> row & 1:
                by_chunk = around.has(Defect.BATCH_BY_CHUNK)
                batch = gather(batch, lease.chunk, lease.epoch, (row, NOT_RUN), by_chunk=by_chunk)
    settled = process._replace(batch=batch, ending=ending._replace(phase="check"))
    fenced = ", ".join(f"{lease.chunk}/{lease.epoch}" for lease in leases) or "nothing"
    yield step(f"{ending.name} fences {fenced} and settles it", after.with_process(number, settled), call)
    if around.may("late"):
        given_up = state._replace(budget=around.spent("late"), late=(*state.late, call))
        text = f"{ending.name} gives up waiting for a fence that is still on its way"
        yield _given_up(around, given_up, number, ending, text)


def _check(around: Surroundings, number: int, ending: Ending) -> Iterator[Step[State]]:
    state, process = around.state, around.state.processes[number]
    if process.batch or process.sending:
        return  # it flushes first
    if ending.abandons:
        call = Call("abandon_job", (ending.job,))
        after, (answer,) = around.ask(state, call)
        text = f"{ending.name} ends job {ending.job} without its files: {answer}"
        yield _given_up(around, after, number, ending, text, call, helps=True)
        return
    call = Call("every_row_settled", (ending.job,))
    _, (settled,) = around.ask(state, call)
    if settled or around.has(Defect.FILES_BEFORE_ROWS):
        following = ending._replace(phase="parts", content=state.db.content(ending.job))
        after = state.with_process(number, process._replace(ending=following))
        yield step(f"{ending.name} reads the results of job {ending.job}", after, call)
    else:
        yield _given_up(around, state, number, ending, f"{ending.name} finds rows without results", call, helps=True)


def _parts(around: Surroundings, number: int, ending: Ending) -> Iterator[Step[State]]:
    """Start an upload, send its parts, record them; what is recorded already is not sent again."""
    state, process = around.state, around.state.processes[number]
    yield from _fails(around, number, ending)
    if around.small_files:
        after = state._replace(objects=_with(state.objects, ending.job, ending.content))
        after = after.with_process(number, process._replace(ending=ending._replace(phase="finish")))
        yield step(f"{ending.name} stores the file", after)
        return
    state = state.with_process(number, process._replace(ending=ending._replace(phase="complete")))
    if state.db.jobs[ending.job].parts is not None:
        yield step(f"{ending.name} finds all parts recorded", state)
        return
    if state.db.jobs[ending.job].deleted:
        yield _given_up(around, around.state, number, ending, f"{ending.name} can record no parts", helps=True)
        return
    call = Call("save_output_progress", (ending.job, ending.content))
    after, _ = around.ask(state, call)
    after = after._replace(uploads=_with(after.uploads, ending.job, value=True))
    yield step(f"{ending.name} uploads and records the parts of the file", after, call)


def _complete(around: Surroundings, number: int, ending: Ending) -> Iterator[Step[State]]:
    """complete_upload: an upload that is gone is fine when the object has the size that it would have."""
    state, process = around.state, around.state.processes[number]
    recorded = state.db.jobs[ending.job].parts
    parts = recorded or ending.content
    if state.uploads[ending.job]:
        state = state._replace(
            objects=_with(state.objects, ending.job, parts), uploads=_with(state.uploads, ending.job, value=False)
        )
        text = f"{ending.name} completes the upload"
    elif len(state.objects[ending.job] or ()) == len(parts) > 0:
        text = f"{ending.name} finds the upload completed"
    elif recorded is None:
        yield _given_up(around, state, number, ending, f"{ending.name} finds neither upload nor progress", helps=True)
        return
    else:
        call = Call("forget_output_progress", (ending.job,))
        state, _ = around.ask(state, call)
        process = process._replace(ending=ending._replace(phase="parts"))
        yield step(f"{ending.name} finds the upload gone", state.with_process(number, process), call)
        return
    process = process._replace(ending=ending._replace(phase="finish"))
    yield step(text, state.with_process(number, process))


def _finish(around: Surroundings, number: int, ending: Ending) -> Iterator[Step[State]]:
    state = around.state
    call = Call("finish_job", (ending.job,))
    after, (answer,) = around.ask(state, call)
    if answer == NOT_FOUND and not around.has(Defect.LEAVES_FILES_OF_THE_DELETED):
        after = after._replace(objects=_with(after.objects, ending.job, None))
    elif answer not in (CONFLICT, NOT_FOUND) and after.objects[ending.job] != state.db.content(ending.job):
        after = after._replace(wrong="the file of an ended job does not hold exactly its results")
    text = f"{ending.name} finishes job {ending.job}: {answer}"
    yield _given_up(around, after, number, ending, text, call, helps=True)
    if around.may("unended"):
        after = after._replace(budget=around.spent("unended"))
        process = after.processes[number]._replace(ending=None)
        yield step(f"{text}, and stays known as its finaliser", after.with_process(number, process), call, helps=False)


def _fails(around: Surroundings, number: int, ending: Ending) -> Iterator[Step[State]]:
    """Something unforeseen happens."""
    if around.may("faults"):
        call = Call("fail_finalising", (ending.name, ending.job))
        after, _ = around.ask(around.state._replace(budget=around.spent("faults")), call)
        process = after.processes[number]._replace(ending=None)
        text = f"{ending.name} fails at the files of job {ending.job}"
        yield step(text, after.with_process(number, process), call, helps=False)


def _given_up(
    around: Surroundings, state: State, number: int, ending: Ending, text: str, *calls: Call, helps: bool = False
) -> Step[State]:
    """End the finaliser's work, and leave the job to others."""
    end = Call("end_finalising", (ending.name, ending.job))
    state, _ = around.ask(state, end)
    process = state.processes[number]._replace(ending=None)
    return step(text, state.with_process(number, process), *calls, end, helps=helps)


def _with(values: tuple, place: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[:place], value, *values[place + 1 :])


_PHASES = {
    "claim": _claim,
    "fence": _fence,
    "check": _check,
    "parts": _parts,
    "complete": _complete,
    "finish": _finish,
}
