"""States that differ only in how often something happened before are the same state.

Epochs and generations only grow, and are only ever compared: so each is replaced by its rank among those that are still
to be seen anywhere.
"""

from tests.model.database import Chunk, Database, Job
from tests.model.state import Batch, Process, State
from tests.model.statements import Call, Results

Ranks = dict[int, int]


def canonical(state: State) -> State:
    """Return the state that stands for all that are like this one."""
    epochs = _epochs(state)
    names = _names(state)
    if all(rank == epoch for ranks in epochs for epoch, rank in ranks.items()) and all(
        old == new for old, new in names.items()
    ):
        return state
    db = state.db
    return state._replace(
        db=Database(
            tuple(_job(job, names) for job in db.jobs),
            tuple(_chunk(chunk, ranks, names) for chunk, ranks in zip(db.chunks, epochs, strict=True)),
            tuple(sorted((names[name], fresh) for name, fresh in db.schedulers)),
        ),
        processes=tuple(_process(number, process, epochs, names) for number, process in enumerate(state.processes)),
        late=tuple(_call(call, epochs, names) for call in state.late),
    )


def _epochs(state: State) -> list[Ranks]:
    seen = [{chunk.epoch} for chunk in state.db.chunks]
    for process in state.processes:
        for work in process.works:
            seen[work.chunk].add(work.epoch)
        for batch in (process.batch, process.sending):
            if batch:
                for results in batch.results:
                    seen[results.chunk].add(results.epoch)
                for chunk, epoch in batch.releases:
                    seen[chunk].add(epoch)
    for call in state.late:
        if call.statement == "commit_results":
            for results in call.arguments[1]:
                seen[results.chunk].add(results.epoch)
    return [{epoch: rank for rank, epoch in enumerate(sorted(epochs))} for epochs in seen]


def _names(state: State) -> dict[str, str]:
    used = {name for name, _ in state.db.schedulers}
    used |= {chunk.owner for chunk in state.db.chunks if chunk.owner is not None}
    used |= {job.finaliser for job in state.db.jobs if job.finaliser is not None}
    used |= {process.ending.name for process in state.processes if process.ending is not None}
    used |= {call.arguments[0] for call in state.late}
    for number, process in enumerate(state.processes):
        used.add(f"{'abc'[number]}{process.generation}")
    ranks: dict[str, str] = {}
    count: dict[str, int] = {}
    for name in sorted(used):
        count[name[0]] = count.get(name[0], -1) + 1
        ranks[name] = f"{name[0]}{count[name[0]]}"
    return ranks


def _job(job: Job, names: dict[str, str]) -> Job:
    return job if job.finaliser is None else job._replace(finaliser=names[job.finaliser])


def _chunk(chunk: Chunk, ranks: Ranks, names: dict[str, str]) -> Chunk:
    owner = None if chunk.owner is None else names[chunk.owner]
    return chunk._replace(epoch=ranks[chunk.epoch], owner=owner)


def _process(number: int, process: Process, epochs: list[Ranks], names: dict[str, str]) -> Process:
    ending = process.ending
    return process._replace(
        generation=int(names[f"{'abc'[number]}{process.generation}"][1:]),
        works=tuple(work._replace(epoch=epochs[work.chunk][work.epoch]) for work in process.works),
        batch=_batch(process.batch, epochs),
        sending=None if process.sending is None else _batch(process.sending, epochs),
        ending=None if ending is None else ending._replace(name=names[ending.name]),
    )


def _batch(batch: Batch, epochs: list[Ranks]) -> Batch:
    if not batch:
        return batch
    return Batch(
        _results(batch.results, epochs), tuple((chunk, epochs[chunk][epoch]) for chunk, epoch in batch.releases)
    )


def _results(given: tuple[Results, ...], epochs: list[Ranks]) -> tuple[Results, ...]:
    return tuple(results._replace(epoch=epochs[results.chunk][results.epoch]) for results in given)


def _call(call: Call, epochs: list[Ranks], names: dict[str, str]) -> Call:
    first, second = call.arguments
    if call.statement == "commit_results":
        second = _results(second, epochs)
    return Call(call.statement, (names[first], second))
