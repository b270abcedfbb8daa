"""Decides which rows run where: a pure function from what is known to what should be done.

For now simple: jobs by priority, then age; adapters together; the least loaded server of the family first.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from lorax_batch_scheduler.fleet import ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRows:
    """Rows of one job and one adapter that no server has been given."""

    model: str
    """As the rows wrote it: what chunks are claimed by."""
    adapter: str
    """What servers know it as; "" for the base model."""
    chunk_count: int
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """A job that may run."""

    job_id: str
    base_model_id: str
    family: str = ""
    """The hash of its server configuration; "" fits any server of its base model."""
    rank: int = 0
    """Its place in the order that placing decided on: the lowest goes first. 0: it came after that."""
    priority: int
    create_time: datetime
    rows: tuple[AdapterRows, ...]
    told: str = ""
    """Why no server is started for it, as placing said; "": it said nothing."""
    given_rows: int = 0
    """Rows that servers have been given and that have no result yet."""
    row_tokens: int = 0
    """What a server must take as prompt and answer of one row, so that none fails for that; 0: anything."""
    prompt_tokens: int = 0
    """What it must take as the prompt of one row; 0: anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """A server that could be given rows."""

    server_id: str
    state: ServerState
    reason: str
    base_model_id: str | None
    family: str = ""
    """The hash of what it was started with; "": not started by us, and taken by any job of its base model."""
    wanted_rows: int
    """How many more rows it wants queued; 0: none for now."""
    load: float
    """Rows given / rows in flight that it takes; the least loaded server is served first."""
    queued_rows: int = 0
    """Given and not in flight."""
    fullness: float = 0.0
    """What is in flight of what may be, in rows or in tokens."""
    working_on: frozenset[str] = frozenset()
    """Adapters with rows given to it."""
    warm: frozenset[str] = frozenset()
    """Adapters that should be loaded on it."""
    max_total_tokens: int | None = None
    """Of one row; None: unknown, or nothing can be done about it."""
    max_input_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a plan is made from."""

    jobs: tuple[WaitingJob, ...]
    servers: tuple[ServerView, ...]
    elsewhere: tuple[ServerView, ...] = ()
    """Servers of other processes: nothing can be given to them, but jobs may wait for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveChunks:
    """Lease chunks of a job and adapter for a server."""

    server_id: str
    job_id: str
    model: str
    chunk_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainWait:
    """Tell callers why a job waits."""

    job_id: str
    reason: str
    stranded: bool
    """No server of its family is ready; else it only waits for its turn."""


Action = GiveChunks | ExplainWait

_COMING_OR_GOING: Final = frozenset({ServerState.STARTING, ServerState.DRAINING})
"""Of servers that placing starts and drains: it knows when a job gets one; nobody answering yet is no trouble."""


def give(snapshot: Snapshot) -> list[Action]:
    """Return which chunks to give to which server now. The same snapshot gives the same answer; ties go by id."""
    jobs = _in_order(snapshot.jobs)
    servers = sorted(snapshot.servers, key=lambda server: (server.load, server.server_id))
    takers = [_Taker(server) for server in servers if server.state is ServerState.READY and server.wanted_rows > 0]
    for job in jobs:
        _share_out(job, [taker for taker in takers if serves(taker.server, job)])
    actions: list[Action] = [
        GiveChunks(server_id=taker.server.server_id, job_id=job_id, model=model, chunk_count=chunk_count)
        for taker in takers
        for (job_id, model), chunk_count in taker.gives.items()
    ]
    served = {each.job_id for each in gives(actions)}
    actions += [
        wait
        for job in jobs
        if job.job_id not in served and (wait := _explain(job, snapshot.servers + snapshot.elsewhere))
    ]
    return actions


def _in_order(jobs: Sequence[WaitingJob]) -> list[WaitingJob]:
    """Return jobs as placing has ordered them; those that came since go behind all whose priority is no lower."""
    last: dict[int, int] = {}
    for job in jobs:
        last[job.priority] = max(last.get(job.priority, 0), job.rank)

    def place(job: WaitingJob) -> float:
        if job.rank:
            return job.rank
        return max(rank for priority, rank in last.items() if priority >= job.priority) + 0.5

    return sorted(jobs, key=lambda job: (place(job), -job.priority, job.create_time, job.job_id))


def serves(server: ServerView, job: WaitingJob) -> bool:
    """Tell whether a server runs what a job needs, and has room for its rows."""
    return _is_of_family(server, job) and not _is_too_narrow(server, job)


def _is_of_family(server: ServerView, job: WaitingJob) -> bool:
    if server.family and job.family:
        return server.family == job.family
    return server.base_model_id == job.base_model_id


def _is_too_narrow(server: ServerView, job: WaitingJob) -> bool:
    total, longest = server.max_total_tokens, server.max_input_length
    return (total is not None and total < job.row_tokens) or (longest is not None and longest < job.prompt_tokens)


def _explain(job: WaitingJob, servers: tuple[ServerView, ...]) -> ExplainWait | None:
    if job.given_rows:
        return None
    reason = why_waiting(job, servers)
    if reason is not None:
        return ExplainWait(job_id=job.job_id, reason=reason, stranded=True)
    if not job.rows:
        return None
    turn = f"waiting for its turn: the servers of {job.base_model_id} are busy with jobs before it"
    return ExplainWait(job_id=job.job_id, reason=turn, stranded=False)


def why_waiting(job: WaitingJob, servers: tuple[ServerView, ...]) -> str | None:
    """Return why no server of the job's family takes rows at all; None when one is ready."""
    family = [server for server in servers if serves(server, job)]
    if any(server.state is ServerState.READY for server in family):
        return None
    if job.told and family and all(server.state in _COMING_OR_GOING for server in family):
        return f"waiting for a server of {job.base_model_id}: {job.told}"
    if family:
        told = "; ".join(f"{server.server_id}: {server.reason or server.state.lower()}" for server in family)
        return f"waiting for a server of {job.base_model_id} to be ready: {told}"
    narrow = [server for server in servers if _is_of_family(server, job)]
    if narrow:
        return _why_narrow(job, narrow)
    if job.told:
        return f"waiting for a server of {job.base_model_id}: {job.told}"
    silent = [server for server in servers if server.base_model_id is None]
    if silent:
        told = "; ".join(f"{server.server_id}: {server.reason or 'not asked yet'}" for server in silent)
        return f"waiting for a server of {job.base_model_id}: none hosts it; not known yet what these host: {told}"
    hosted = ", ".join(sorted({server.base_model_id or "" for server in servers}))
    if hosted:
        return f"waiting for a server of {job.base_model_id}: none hosts it (hosted: {hosted})"
    return (
        f"waiting for a server of {job.base_model_id}: none runs yet; `lorax-batch fleet slots` shows where one could"
    )


def _why_narrow(job: WaitingJob, servers: Sequence[ServerView]) -> str:
    told = ", ".join(f"{server.server_id} up to {server.max_total_tokens or 0:,}" for server in servers)
    return (
        f"waiting for a server of {job.base_model_id} with room for its longest rows: they may have "
        f"{job.row_tokens:,} tokens with their answers, and {told} is what there is"
        + (f"; {job.told}" if job.told else "")
    )


MAX_GIVES: Final = 32
"""Jobs and adapters that a server is given in one plan: each is a statement, and the next plan is milliseconds away."""


@dataclass(slots=True)
class _Taker:
    """A server with what this plan has given it so far."""

    server: ServerView
    given_rows: int = 0
    gives: dict[tuple[str, str], int] = field(default_factory=dict)
    """Chunks by (job, model)."""
    adapters: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.adapters |= self.server.working_on

    @property
    def hungry(self) -> bool:
        return self.given_rows < self.server.wanted_rows and len(self.gives) < MAX_GIVES

    def take(self, job_id: str, rows: AdapterRows) -> None:
        """Take one chunk."""
        self.given_rows += -(-rows.row_count // rows.chunk_count)
        self.adapters.add(rows.adapter)
        key = job_id, rows.model
        self.gives[key] = self.gives.get(key, 0) + 1


class _Rest:
    """What is left of a job: found by adapter, and by size."""

    def __init__(self, rows: tuple[AdapterRows, ...]) -> None:
        self._rows = {each.model: each for each in rows if each.chunk_count}
        self._models: dict[str, list[str]] = {}
        for each in self._rows.values():
            self._models.setdefault(each.adapter, []).append(each.model)
        self._by_size = sorted(self._rows.values(), key=_size)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def largest_of(self, adapters: Iterable[str]) -> AdapterRows | None:
        """Return the largest rest among these adapters."""
        models = (model for adapter in adapters for model in self._models.get(adapter, ()))
        return min((self._rows[model] for model in models if model in self._rows), key=_size, default=None)

    def largest_but(self, adapters: Collection[str]) -> AdapterRows | None:
        """Return the largest rest of any other adapter, as large as it was in the beginning."""
        found = (self._rows[each.model] for each in self._by_size if each.model in self._rows)
        return next((rows for rows in found if rows.adapter not in adapters), None)

    def use_one(self, rows: AdapterRows) -> None:
        """Count a chunk as given."""
        if rows.chunk_count == 1:
            del self._rows[rows.model]
            return
        share = rows.row_count // rows.chunk_count
        self._rows[rows.model] = replace(rows, chunk_count=rows.chunk_count - 1, row_count=rows.row_count - share)


def _size(rows: AdapterRows) -> tuple[int, str]:
    return -rows.row_count, rows.model


def _share_out(job: WaitingJob, takers: list[_Taker]) -> None:
    """Give the job's chunks to the servers in turn, each taking what suits it best."""
    hungry = [taker for taker in takers if taker.hungry]
    rest = _Rest(job.rows) if hungry else None
    while hungry and rest:
        for taker in hungry:
            chosen = _choose(taker, rest, takers)
            if chosen is None:
                return
            taker.take(job.job_id, chosen)
            rest.use_one(chosen)
        hungry = [taker for taker in hungry if taker.hungry]


def _choose(taker: _Taker, rest: _Rest, takers: list[_Taker]) -> AdapterRows | None:
    """What it works on, what it has loaded, what no other works on, and only then what another works on."""
    elsewhere = {adapter for other in takers if other is not taker for adapter in other.adapters}
    return (
        rest.largest_of(taker.adapters)
        or rest.largest_of(taker.server.warm - elsewhere)
        or rest.largest_but(elsewhere)
        or rest.largest_but(())
    )


def gives(actions: list[Action]) -> Iterator[GiveChunks]:
    """Yield the chunks to give."""
    return (action for action in actions if isinstance(action, GiveChunks))


def waits(actions: list[Action]) -> Iterator[ExplainWait]:
    """Yield why jobs wait."""
    return (action for action in actions if isinstance(action, ExplainWait))
