"""What placing is decided from: slots, what runs on them, families, jobs and tenants at one moment.

Times are seconds of one clock that never goes back. Work is slot-seconds: how long one server of the family, with
enough rows in flight, needs on a slot of that kind.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf


class HostedState(enum.Enum):
    """How far a server on a slot is."""

    STARTING = "STARTING"
    READY = "READY"
    DRAINING = "DRAINING"
    """Ends its rows in flight, then stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedServer:
    """A server on a slot."""

    server_id: str
    family_id: str
    state: HostedState
    since: float
    """When it was started (STARTING), became ready (READY), or began to drain."""
    ready_at: float
    """When it became ready, or is expected to."""
    idle_since: float | None = None
    """Ready without any row since then; None: it has rows."""
    memory_bytes: int = 0
    """Its part of the slot's memory; 0: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """A place for servers."""

    slot_id: str
    kind: str
    memory_bytes: int
    servers: tuple[HostedServer, ...] = ()
    unusable: str = ""
    """Why nothing can be started on it now; empty: it can."""
    fixed: bool = False
    """A server that is neither started nor stopped by us: it hosts what it hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyView:
    """A server configuration that jobs want."""

    family_id: str
    need_bytes: int
    """The least GPU memory that a server of it works with."""
    setup_s: Mapping[str, float]
    """By GPU kind: from the decision to start a server to its first row. Kinds that are missing can't host it."""
    held_until: Mapping[str, float] = field(default_factory=dict)
    """By GPU kind: it failed to start there, and is not tried again before."""
    held_because: Mapping[str, str] = field(default_factory=dict)
    """By GPU kind: how it failed there and when the next try is, for the jobs that wait."""
    full_row_s: float = 0.0
    """How long a row takes on a server whose window is full; 0: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job with rows left."""

    job_id: str
    family_id: str
    tenant: str
    priority: int
    arrival: float
    work_s: Mapping[str, float]
    """Work left by GPU kind, estimated."""
    deadline: float | None = None
    virtual_left_s: float | None = None
    """Work left in the imaginary cluster of the fair clock; None: it has just come."""
    virtual_finish: float | None = None
    """When it ended in the imaginary cluster, if it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """Everything at one moment.

    Raises:
        ValueError: a job is of no family of the view, or a tenant's weight is no number above 0.
    """

    now: float
    slots: tuple[SlotView, ...]
    families: tuple[FamilyView, ...]
    jobs: tuple[JobView, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of tenants; those that are missing have 1."""
    caps: Mapping[str, int] = field(default_factory=dict)
    """By tenant: the most slots that are held for its jobs alone; those that are missing have no cap."""
    switching_budget_s: float = inf
    """So many slot-seconds may now be spent on switching slots that are at work."""

    def __post_init__(self) -> None:
        known = {family.family_id for family in self.families}
        for job in self.jobs:
            if job.family_id not in known:
                raise ValueError(f"jobs: {job.job_id} is of family '{job.family_id}', which is not among `families`")
        for tenant, weight in self.weights.items():
            if not 0 < weight < inf:
                raise ValueError(f"weights: {weight} of tenant '{tenant}' is no finite number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartServer:
    """Start a server of a family on a slot."""

    slot_id: str
    family_id: str
    memory_bytes: int
    """Its part of the slot's memory; all of it unless another server shares the slot."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainServer:
    """Give a server no more rows, and stop it when those in flight have ended."""

    server_id: str
    slot_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeJobs:
    """In which order the servers of a family take the rows of its jobs."""

    family_id: str
    job_ids: tuple[str, ...]
    window: float = 1.0
    """The part of its window that each server fills: less when short rows are worth more than work done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainJob:
    """Tell callers why no server takes rows of a job yet."""

    job_id: str
    reason: str
    never: bool = False
    """No slot could ever host its server, however long it waits."""


PlaceAction = StartServer | DrainServer | ServeJobs | ExplainJob
