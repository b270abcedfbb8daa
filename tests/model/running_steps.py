"""What a scheduler does to run rows: hold its lease, claim, send, gather, commit, give back."""

from collections.abc import Iterator

from lorax_batch_scheduler.job import RUNNABLE_STATES

from tests.model.database import FAILED, OK
from tests.model.defects import Defect
from tests.model.explorer import Step
from tests.model.state import Batch, Process, State, Work, gather
from tests.model.statements import Call
from tests.model.surroundings import Surroundings, name_of, step


def running_steps(around: Surroundings, number: int) -> Iterator[Step[State]]:
    """Yield what a process may do next."""
    yield from _keep_lease(around, number)
    process = around.state.processes[number]
    if process.registered:
        yield from _claim(around, number)
        yield from _reconcile(around, number)
    yield from _run_rows(around, number)
    yield from _commit(around, number)


def _keep_lease(around: Surroundings, number: int) -> Iterator[Step[State]]:
    """See `LeaseKeeper`."""
    state, process = around.state, around.state.processes[number]
    name = name_of(number, process)
    if not process.registered:
        call = Call("register_scheduler", (name, around.exclusive))
        after, _ = around.ask(state, call) if not state.db.is_known(name) else (state, [])
        if after is state:
            return  # the answer to its first try was lost: it will hear so when it renews
        known = process if process.heard else _give_up_all(process)
        known = known._replace(registered=True, heard=True, sure=True)
        yield step(f"{name} registers", after.with_process(number, known), call)
        if around.may("lost"):
            after = after._replace(budget=around.spent("lost"))
            deaf = process._replace(registered=True, heard=True)
            text = f"{name} registers; the answer is lost"
            yield step(text, after.with_process(number, deaf), call, helps=False)
        return
    call = Call("renew_scheduler", (name,))
    after, (renewed,) = around.ask(state, call)
    if renewed:
        after = after.with_process(number, process._replace(sure=True))
        if after != state:
            yield step(f"{name} renews its lease, and frees what others had", after, call)
        return
    sure = process.sure and around.has(Defect.FREES_THE_LIVING)
    process = process._replace(generation=process.generation + 1, registered=False, sure=sure)
    learns_later = around.has(Defect.LEARNS_LOSS_AFTER_REGISTER)
    process = process._replace(heard=False) if learns_later else _give_up_all(process)
    text = f"{name} hears that its lease is lost, and calls itself {name_of(number, process)}"
    yield step(text, after.with_process(number, process), call)


def _give_up_all(process: Process) -> Process:
    return process._replace(works=tuple(work._replace(sends=False, known=False) for work in process.works))


def _claim(around: Surroundings, number: int) -> Iterator[Step[State]]:
    """See `WorkSupply.give`."""
    state, process = around.state, around.state.processes[number]
    for job in range(len(state.db.jobs)):
        call = Call("claim_chunk", (name_of(number, process), job))
        after, (lease,) = around.ask(state, call)
        if lease is None:
            continue
        name = name_of(number, process)
        rows = ((1 << state.db.chunks[lease.chunk].rows) - 1) & ~lease.done
        works = tuple(
            work._replace(known=False) if work.chunk == lease.chunk and work.known else work for work in process.works
        )
        claimed = process._replace(works=(*works, Work(lease.chunk, lease.epoch, waiting=rows, left=rows)))
        yield step(
            f"{name} claims chunk {lease.chunk} with epoch {lease.epoch}", after.with_process(number, claimed), call
        )
        unsure = process._replace(certain=False)
        if around.may("lost"):
            deaf = after._replace(budget=around.spent("lost")).with_process(number, unsure)
            yield step(f"{name} claims chunk {lease.chunk}; the answer is lost", deaf, call, helps=False)
        if around.may("late"):
            given_up = state._replace(budget=around.spent("late"), late=(*state.late, call))
            text = f"{name} gives up waiting for a claim that is still on its way"
            yield step(text, given_up.with_process(number, unsure), helps=False)


def _reconcile(around: Surroundings, number: int) -> Iterator[Step[State]]:
    """See `Scheduler._release_forgotten`: at once after a lost answer, and now and then."""
    state, process = around.state, around.state.processes[number]
    if around.has(Defect.NEVER_RECONCILES) or (process.certain and around.has(Defect.RECONCILES_ONCE)):
        return
    if (process.batch or process.sending) and not around.has(Defect.RECONCILES_UNFLUSHED):
        return  # it flushes first
    name = name_of(number, process)
    known = tuple(sorted({work.chunk for work in process.works if work.known}))
    call = Call("release_forgotten", (name, known))
    after, _ = around.ask(state, call)
    after = after.with_process(number, process._replace(certain=True))
    if after != state:
        yield step(f"{name} gives back what it holds without knowing", after, call)


def _run_rows(around: Surroundings, number: int) -> Iterator[Step[State]]:
    """See `RowPump`: rows are sent in order, and answered in any."""
    state, process = around.state, around.state.processes[number]
    name = name_of(number, process)
    for place, work in enumerate(process.works):
        runnable = state.db.jobs[state.db.chunks[work.chunk].job].state in RUNNABLE_STATES
        if work.sends and work.waiting and (process.sure or around.has(Defect.SENDS_UNSURE)):
            row = (work.waiting & -work.waiting).bit_length() - 1
            sent = work._replace(waiting=work.waiting & ~(1 << row), flying=work.flying | 1 << row)
            after = _with_work(state, number, place, sent)
            calls = list(state.calls_left[work.chunk])
            calls[row] -= 1
            after = after._replace(
                calls_left=(*state.calls_left[: work.chunk], tuple(calls), *state.calls_left[work.chunk + 1 :]),
                wrong=_wrong_to_send(state, work, name, runnable=runnable),
            )
            yield step(f"{name} sends row {row} of chunk {work.chunk}, epoch {work.epoch}", after)
        if work.sends and not runnable:
            after = _with_work(state, number, place, work._replace(sends=False))
            yield step(f"{name} hears that the job of chunk {work.chunk} stopped", after)
        yield from _answers(around, number, place)
        if not work.sends and not work.flying:
            works = process.works[:place] + process.works[place + 1 :]
            batch = process.batch
            if work.known or not around.has(Defect.LOST_IS_NOT_RELEASED):
                batch = _with_release(batch, work.chunk, work.epoch)
            after = state.with_process(number, process._replace(works=works, batch=batch))
            yield step(f"{name} lets go of chunk {work.chunk}, epoch {work.epoch}", after)


def _wrong_to_send(state: State, work: Work, name: str, *, runnable: bool) -> str:
    chunk = state.db.chunks[work.chunk]
    if not work.known:
        return "a row is sent under a lease that is known to be lost"
    if runnable and (chunk.owner, chunk.epoch) != (name, work.epoch):
        return "a row is sent that others may be sending"
    return ""


def _answers(around: Surroundings, number: int, place: int) -> Iterator[Step[State]]:
    state, process = around.state, around.state.processes[number]
    work, name = process.works[place], name_of(number, process)
    for row in range(work.flying.bit_length()):
        if not work.flying >> row & 1:
            continue
        for kind in (OK, FAILED) if around.may("failures") else (OK,):
            batch = gather(
                process.batch, work.chunk, work.epoch, (row, kind), by_chunk=around.has(Defect.BATCH_BY_CHUNK)
            )
            landed = work._replace(flying=work.flying & ~(1 << row))
            after = _with_work(state.with_process(number, process._replace(batch=batch)), number, place, landed)
            if kind == FAILED:
                after = after._replace(budget=around.spent("failures"))
            text = f"row {row} of chunk {work.chunk} is answered ({kind}) to {name}, epoch {work.epoch}"
            yield step(text, after)


def _with_work(state: State, number: int, place: int, work: Work) -> State:
    process = state.processes[number]
    works = (*process.works[:place], work, *process.works[place + 1 :])
    return state.with_process(number, process._replace(works=works))


def _with_release(batch: Batch, chunk: int, epoch: int) -> Batch:
    return batch._replace(releases=tuple(sorted({*batch.releases, (chunk, epoch)})))


def _commit(around: Surroundings, number: int) -> Iterator[Step[State]]:
    """See `Committer._store`: commit_results, then release_chunks, both again until they are answered."""
    state, process = around.state, around.state.processes[number]
    batch = process.sending or process.batch
    if not batch:
        return
    name = name_of(number, process)
    taken = process if process.sending else process._replace(batch=Batch())
    commit = Call("commit_results", (name, batch.results))
    release = Call("release_chunks", (name, batch.releases))
    calls = (release, commit) if around.has(Defect.RELEASES_BEFORE_COMMIT) else (commit, release)
    after, answers = around.ask(state, *calls)
    stored = answers[calls.index(commit)]
    told = _told(around, taken._replace(sending=None), batch, stored)
    verb = "commits again" if process.sending else "commits"
    what = ", ".join(f"{results.chunk}/{results.epoch}:{results.results}" for results in batch.results) or "nothing"
    text = f"{name} {verb} {what} and releases {list(batch.releases)}; stored: {sorted(stored)}"
    yield step(text, after.with_process(number, told), *calls)
    pending = taken._replace(sending=None if around.has(Defect.FORGETS_ON_LOST_ANSWER) else batch)
    if around.may("lost"):
        after, _ = around.ask(state._replace(budget=around.spent("lost")), commit)
        yield step(
            f"{name} commits {what}; the answer is lost", after.with_process(number, pending), commit, helps=False
        )
    if around.may("late"):
        after = state._replace(budget=around.spent("late"), late=(*state.late, commit))
        yield step(
            f"{name} gives up waiting for the commit of {what}", after.with_process(number, pending), helps=False
        )


def _told(around: Surroundings, process: Process, batch: Batch, stored: frozenset[int]) -> Process:
    """See `Scheduler._committed`."""
    works, releases = process.works, process.batch
    for results in batch.results:
        lost = results.chunk not in stored
        if lost and not around.has(Defect.LOST_IS_NOT_RELEASED):
            releases = _with_release(releases, results.chunk, results.epoch)
        works = tuple(
            _after_commit(around, work, results.done, lost=lost)
            if (work.chunk, work.epoch) == (results.chunk, results.epoch)
            else work
            for work in works
        )
    return process._replace(works=tuple(work for work in works if work.left or work.flying), batch=releases)


def _after_commit(around: Surroundings, work: Work, done: int, *, lost: bool) -> Work:
    if not lost:
        return work._replace(left=work.left & ~done)
    return work._replace(sends=around.has(Defect.LOST_CHUNKS_GO_ON) and work.sends, known=False)
