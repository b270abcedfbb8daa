"""What happens to schedulers, and what callers do."""

from collections.abc import Iterator

from lorax_batch_scheduler.job import JobEvent, JobState

from tests.model.explorer import Step
from tests.model.state import Life, Process, State
from tests.model.statements import CONFLICT, Call
from tests.model.surroundings import Surroundings, name_of, step

BYSTANDER = "elsewhere"
"""A scheduler that has nothing to do with any of this but for declaring others dead."""


def world_steps(around: Surroundings) -> Iterator[Step[State]]:
    """Yield what may happen next."""
    for number in range(len(around.state.processes)):
        yield from _fates(around, number)
    yield from _leases_run_out(around)
    yield from _late_requests(around)
    yield from _callers(around)


def _fates(around: Surroundings, number: int) -> Iterator[Step[State]]:
    state, process = around.state, around.state.processes[number]
    name = name_of(number, process)
    if process.life is Life.DOWN:
        # The first generation of each; a crash leaves room for another.
        others_up = any(other.life is not Life.DOWN for other in state.processes)
        if not (around.exclusive and others_up):
            process = Process(Life.UP, process.generation + 1, registered=True)
            call = Call("register_scheduler", (name_of(number, process), around.exclusive))
            after, _ = around.ask(state, call)
            yield step(f"{name_of(number, process)} starts", after.with_process(number, process), call)
        return
    if around.may("crashes"):
        after = _dead(state._replace(budget=around.spent("crashes")), number)
        yield step(f"{name} dies", after, helps=False)
    if process.life is Life.FROZEN:
        awake = process._replace(life=Life.UP)
        yield step(f"{name} wakes up", state.with_process(number, awake))
        return
    if around.may("freezes"):
        after = state._replace(budget=around.spent("freezes"))
        yield step(f"{name} stands still", after.with_process(number, process._replace(life=Life.FROZEN)), helps=False)
    if around.may("drains") and not process.batch and not process.sending:
        calls = [Call("unregister_scheduler", (name,))]
        if process.ending is not None and process.ending.phase != "claim":
            calls.insert(0, Call("end_finalising", (process.ending.name, process.ending.job)))
        after, _ = around.ask(state._replace(budget=around.spent("drains")), *calls)
        yield step(f"{name} hands everything back and ends", _dead(after, number), *calls, helps=False)


def _dead(state: State, number: int) -> State:
    """A process is gone; what it had sent may still arrive."""
    dead = Process(generation=state.processes[number].generation)
    return state.with_process(number, dead).disturbed()


def _leases_run_out(around: Surroundings) -> Iterator[Step[State]]:
    """`lease_until` passes, and `sure_until` before it: surely when nobody renews it."""
    state = around.state
    renewing = {
        name_of(number, process)
        for number, process in enumerate(state.processes)
        if process.life is Life.UP and process.registered
    }
    for name, fresh in state.db.schedulers:
        alive = name in renewing
        if not fresh or (alive and not around.may("slow")):
            continue
        schedulers = tuple((known, ahead and known != name) for known, ahead in state.db.schedulers)
        after = state._replace(db=state.db._replace(schedulers=schedulers))
        after = after.disturbed()
        for number, process in enumerate(state.processes):
            if name_of(number, process) == name and not around.exclusive:
                after = after.with_process(number, process._replace(sure=False))
        if alive:
            after = after._replace(budget=around.spent("slow"))
        yield step(f"the lease of {name} runs out", after, Call("expire", (name,)), helps=not alive)
    if not around.exclusive:
        call = Call("renew_scheduler", (BYSTANDER,))
        after, _ = around.ask(state, call)
        if after is not state:
            yield step("a scheduler elsewhere frees what the dead held", after, call)


def _late_requests(around: Surroundings) -> Iterator[Step[State]]:
    state = around.state
    for place, call in enumerate(state.late):
        after, _ = around.ask(state._replace(late=(*state.late[:place], *state.late[place + 1 :])), call)
        yield step(f"a request arrives whose sender has given up: {call.statement}{call.arguments}", after, call)


_EVENTS = (
    ("cancels", JobEvent.CANCEL),
    ("expiries", JobEvent.EXPIRE),
    ("aborts", JobEvent.ABORT),
    ("pauses", JobEvent.PAUSE),
)


def _callers(around: Surroundings) -> Iterator[Step[State]]:
    state = around.state
    for number, job in enumerate(state.db.jobs):
        if job.deleted:
            continue
        for kind, event in _EVENTS:
            if around.may(kind):
                call = Call("move_job", (number, event))
                after, (answer,) = around.ask(state._replace(budget=around.spent(kind)), call)
                if answer != CONFLICT:
                    yield step(f"job {number}: {event} -> {answer}", after, call, helps=False)
        if job.state is JobState.PAUSED:
            call = Call("move_job", (number, JobEvent.RESUME))
            after, _ = around.ask(state, call)
            yield step(f"job {number} is resumed", after, call)
        if job.state.terminal:
            yield from _after_the_end(around, number)


def _after_the_end(around: Surroundings, number: int) -> Iterator[Step[State]]:
    state = around.state
    if around.may("deletes"):
        call = Call("delete_job", (number,))
        after, _ = around.ask(state._replace(budget=around.spent("deletes")), call)
        after = after._replace(
            objects=(*state.objects[:number], None, *state.objects[number + 1 :]),
            uploads=(*state.uploads[:number], False, *state.uploads[number + 1 :]),
        )
        yield step(f"job {number} is deleted with its file", after, call, helps=False)
    if around.may("retries"):
        call = Call("retry_job", (number,))
        after, (answer,) = around.ask(state._replace(budget=around.spent("retries")), call)
        if answer != CONFLICT:
            created = after.db.chunks[len(state.db.chunks) :]
            after = after._replace(
                objects=(*state.objects, None),
                uploads=(*state.uploads, False),
                calls_left=(*state.calls_left, *((1,) * chunk.rows for chunk in created)),
            )
            yield step(f"the rows in the error file of job {number} are retried", after, call, helps=False)
