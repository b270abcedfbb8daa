"""Decides which rows run where: a pure function from what is known to what should be done.

For now simple: jobs by priority, then age; adapters together; the least loaded server of the family first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

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
    priority: int
    create_time: datetime
    rows: tuple[AdapterRows, ...]
    given_rows: int = 0
    """Rows that servers have been given and that have no result yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """A server that could be given rows."""

    server_id: str
    url: str
    state: ServerState
    reason: str
    base_model_id: str | None
    wanted_rows: int
    """How many more rows it wants queued; 0: none for now."""
    load: float
    """Rows given / rows in flight that it takes; the least loaded server is served first."""
    working_on: frozenset[str] = frozenset()
    """Adapters with rows given to it."""
    warm: frozenset[str] = frozenset()
    """Adapters that should be loaded on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a plan is made from."""

    jobs: tuple[WaitingJob, ...]
    servers: tuple[ServerView, ...]


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


def plan(snapshot: Snapshot) -> list[Action]:
    """Return what to do now. The same snapshot gives the same plan; ties go by id."""
    jobs = sorted(snapshot.jobs, key=lambda job: (-job.priority, job.create_time, job.job_id))
    servers = sorted(snapshot.servers, key=lambda server: (server.load, server.server_id))
    takers = [_Taker(server) for server in servers if server.state is ServerState.READY and server.wanted_rows > 0]
    actions: list[Action] = []
    for job in jobs:
        actions += _share_out(job, [taker for taker in takers if taker.server.base_model_id == job.base_model_id])
    served = {give.job_id for give in gives(actions)}
    actions += [wait for job in jobs if job.job_id not in served and (wait := _explain(job, snapshot.servers))]
    return actions


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
    family = [server for server in servers if server.base_model_id == job.base_model_id]
    if any(server.state is ServerState.READY for server in family):
        return None
    if family:
        told = "; ".join(f"{server.url}: {server.reason or server.state.lower()}" for server in family)
        return f"waiting for a server of {job.base_model_id} to be ready: {told}"
    silent = [server for server in servers if server.base_model_id is None]
    if silent:
        told = "; ".join(f"{server.url}: {server.reason or 'not asked yet'}" for server in silent)
        return f"waiting for a server of {job.base_model_id}: none hosts it; not known yet what these host: {told}"
    hosted = ", ".join(sorted({server.base_model_id or "" for server in servers}))
    if hosted:
        return f"waiting for a server of {job.base_model_id}: none hosts it (hosted: {hosted})"
    return f"waiting for a server of {job.base_model_id}: no server is configured"


@dataclass(slots=True)
class _Taker:
    """A server with what this plan has given it so far."""

    server: ServerView
    given: int = 0
    adapters: set[str] = field(default_factory=set)

    @property
    def hungry(self) -> bool:
        return self.given < self.server.wanted_rows

    def liking(self, rows: AdapterRows) -> tuple[int, int, str]:
        """Smaller is better: what it works on, what it has loaded, then the largest rest."""
        working = rows.adapter in self.server.working_on or rows.adapter in self.adapters
        kinship = 0 if working else 1 if rows.adapter in self.server.warm else 2
        return kinship, -rows.row_count, rows.model

    def take(self, job_id: str, rows: AdapterRows) -> GiveChunks:
        """Take one chunk."""
        self.given += -(-rows.row_count // rows.chunk_count)
        self.adapters.add(rows.adapter)
        return GiveChunks(server_id=self.server.server_id, job_id=job_id, model=rows.model, chunk_count=1)


def _share_out(job: WaitingJob, takers: list[_Taker]) -> list[Action]:
    """Give the job's chunks to the servers in turn, each taking what suits it best."""
    rest = {rows.model: rows for rows in job.rows if rows.chunk_count}
    taken: dict[tuple[str, str], GiveChunks] = {}
    while rest:
        hungry = [taker for taker in takers if taker.hungry]
        if not hungry:
            break
        for taker in hungry:
            if not rest:
                break
            chosen = _choose(taker, rest, hungry)
            give = taker.take(job.job_id, chosen)
            key = give.server_id, give.model
            taken[key] = replace(give, chunk_count=taken[key].chunk_count + 1) if key in taken else give
            _use_one(rest, chosen)
    return list(taken.values())


def _choose(taker: _Taker, rest: Mapping[str, AdapterRows], hungry: list[_Taker]) -> AdapterRows:
    """Choose an adapter; one that another server works on only when there is no other left."""

    def rank(rows: AdapterRows) -> tuple[bool, tuple[int, int, str]]:
        liking = taker.liking(rows)
        elsewhere = liking[0] > 0 and any(other is not taker and other.liking(rows)[0] == 0 for other in hungry)
        return elsewhere, liking

    return min(rest.values(), key=rank)


def _use_one(rest: dict[str, AdapterRows], rows: AdapterRows) -> None:
    if rows.chunk_count == 1:
        del rest[rows.model]
    else:
        share = rows.row_count // rows.chunk_count
        rest[rows.model] = replace(rows, chunk_count=rows.chunk_count - 1, row_count=rows.row_count - share)


def gives(actions: list[Action]) -> Iterator[GiveChunks]:
    """Yield the chunks to give."""
    return (action for action in actions if isinstance(action, GiveChunks))


def waits(actions: list[Action]) -> Iterator[ExplainWait]:
    """Yield why jobs wait."""
    return (action for action in actions if isinstance(action, ExplainWait))
