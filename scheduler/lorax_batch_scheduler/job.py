"""A job: one run of a dataset against one server configuration, its states and its counts."""

from datetime import datetime
from enum import StrEnum

import msgspec

from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.job_secrets import JobSecrets
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.tenant import DEFAULT_TENANT


class AdmissionAnswer(StrEnum):
    """Whether a job's deadline can be met, as found when it came; the same words in SQL and in the contract."""

    FEASIBLE = "FEASIBLE"
    """Nine of ten such jobs end in time, and no other misses its deadline for it."""
    AT_RISK = "AT_RISK"
    INFEASIBLE = "INFEASIBLE"
    """Not one of ten ends in time, even if the job goes first; or nothing can run it."""


class JobState(StrEnum):
    """Where a job is; the same words in SQL and in the contract."""

    VALIDATING = "VALIDATING"
    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    FINALIZING = "FINALIZING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def terminal(self) -> bool:
        """Whether nothing will ever change again."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
RUNNABLE_STATES = frozenset({JobState.QUEUED, JobState.STARTING, JobState.RUNNING})
SETTLING_STATES = frozenset({JobState.CANCELLING, JobState.FINALIZING})
"""No more rows are sent; what has not run gets its error line and the files are written."""


class JobEvent(StrEnum):
    """What happens to a job."""

    DATASET_READY = "DATASET_READY"
    DATASET_FAILED = "DATASET_FAILED"
    ASSIGN = "ASSIGN"
    """The planner chose a server for it."""
    START = "START"
    """Its first chunk was given to a server."""
    REQUEUE = "REQUEUE"
    """No server of its family is left."""
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    CANCEL = "CANCEL"
    EXPIRE = "EXPIRE"
    ABORT = "ABORT"
    """It can't go on: the error threshold, or no server will ever run it."""
    ROWS_DONE = "ROWS_DONE"
    """Every row has its result."""
    FINISH = "FINISH"
    """The files are written; the job's outcome is its state from now on."""


_S, _E = JobState, JobEvent

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = (
    {
        (_S.VALIDATING, _E.DATASET_READY): _S.QUEUED,
        (_S.VALIDATING, _E.DATASET_FAILED): _S.FAILED,
        (_S.VALIDATING, _E.CANCEL): _S.CANCELLING,
        (_S.VALIDATING, _E.EXPIRE): _S.FINALIZING,
        (_S.QUEUED, _E.ASSIGN): _S.STARTING,
        (_S.STARTING, _E.START): _S.RUNNING,
        (_S.STARTING, _E.REQUEUE): _S.QUEUED,
        (_S.RUNNING, _E.REQUEUE): _S.QUEUED,
        (_S.PAUSED, _E.RESUME): _S.QUEUED,
        (_S.CANCELLING, _E.FINISH): _S.CANCELLED,
    }
    | {
        (state, event): target
        for state in (_S.QUEUED, _S.STARTING, _S.RUNNING, _S.PAUSED)
        for event, target in {
            _E.CANCEL: _S.CANCELLING,
            _E.EXPIRE: _S.FINALIZING,
            _E.ABORT: _S.FINALIZING,
            # Also PAUSED: the rows in flight when the caller paused may have been the last ones.
            _E.ROWS_DONE: _S.FINALIZING,
        }.items()
    }
    | {(state, _E.PAUSE): _S.PAUSED for state in (_S.QUEUED, _S.STARTING, _S.RUNNING)}
)
"""Every allowed move. FINALIZING + FINISH is not here: it leads to the job's outcome, see `next_state`."""

OUTCOMES: dict[JobEvent, JobState] = {
    _E.CANCEL: _S.CANCELLED,
    _E.EXPIRE: _S.EXPIRED,
    _E.ABORT: _S.FAILED,
    _E.ROWS_DONE: _S.SUCCEEDED,
}
"""The terminal state that an event decides on, reached when the files are written."""


def next_state(job_id: str, state: JobState, event: JobEvent, outcome: JobState | None = None) -> JobState:
    """Return the state after an event.

    Raises:
        StateConflictError: the event is not allowed in this state.
    """
    if state is JobState.FINALIZING and event is JobEvent.FINISH and outcome is not None:
        return outcome
    target = TRANSITIONS.get((state, event))
    if target is None:
        allowed = sorted(s for (s, e) in TRANSITIONS if e is event)
        raise StateConflictError("job", job_id, state, " or ".join(allowed))
    return target


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a job by what has become of them; always adds up to `total`."""

    total: int = 0
    pending: int = 0
    in_flight: int = 0
    retrying: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    invalid: int = 0

    @property
    def ended(self) -> int:
        """Rows that have their result."""
        return self.succeeded + self.failed + self.cancelled + self.expired + self.invalid


class RowError(msgspec.Struct, frozen=True, kw_only=True):
    """Why one row has no answer."""

    line: int
    custom_id: str
    code: str
    message: str


class ResultFile(msgspec.Struct, frozen=True, kw_only=True):
    """A finished file of result lines in the object store."""

    key: str
    row_count: int
    byte_count: int
    sha256: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is stored, with its committed counts. Never holds the token."""

    job_id: str
    tenant: str = DEFAULT_TENANT
    share_weight: float = 1.0
    """Of its tenant, when the job was read."""
    dataset_id: str
    server_config: ServerConfig
    base_model_id: str
    base_model_aliases: list[str] = []
    """Values of `model` in rows that mean the base model itself."""
    state: JobState
    create_time: datetime
    update_time: datetime
    reason: str = ""
    outcome: JobState | None = None
    """The terminal state it is heading for, once that is decided."""
    priority: int = 0
    deadline: datetime | None = None
    labels: dict[str, str] = {}
    retry_of: str | None = None
    error_threshold: float = 0.0
    default_max_tokens: int = 0
    price_micros_per_million: int = 0
    """Price of a million tokens in 1/1,000,000 of the currency."""
    counts: Counts = Counts()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    rows_per_second: float = 0.0
    tokens_per_second: float = 0.0
    errors: list[RowError] = []
    output_file: ResultFile | None = None
    error_file: ResultFile | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    queue_position: int = 0
    sequence: int = 0
    traceparent: str = ""
    """The caller's, see W3C Trace Context; "": it has none."""
    admission: AdmissionAnswer | None = None
    """None: not judged yet."""
    admission_reason: str = ""
    earliest_finish_time: datetime | None = None
    """When it could end at best, as found when it came."""
    eta: datetime | None = None
    """When it should end, as last foretold; None: nothing can be said."""
    eta_early: datetime | None = None
    """One of ten ends earlier."""
    eta_late: datetime | None = None
    """One of ten ends later."""

    @property
    def cost_micros(self) -> int:
        """The price of the tokens so far, in 1/1,000,000 of the currency, rounded half up."""
        tokens = self.prompt_tokens + self.completion_tokens
        return (tokens * self.price_micros_per_million + 500_000) // 1_000_000


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for, checked."""

    job_id: str
    tenant: str = DEFAULT_TENANT
    dataset_id: str
    server_config: ServerConfig
    base_model_id: str
    base_model_aliases: list[str]
    """Values of `model` in rows that mean the base model itself."""
    secrets: JobSecrets = JobSecrets()
    priority: int = 0
    deadline: datetime | None = None
    labels: dict[str, str] = {}
    request_id: str | None = None
    error_threshold: float = 0.0
    default_max_tokens: int = 0
    price_micros_per_million: int = 0
    traceparent: str = ""
    admission: "JobAdmission | None" = None
    """None: to be judged later."""


class JobAdmission(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a job when it came."""

    answer: AdmissionAnswer
    reason: str = ""
    """For people."""
    earliest_finish_time: datetime | None = None
    """None: nothing can run it."""


class JobEta(msgspec.Struct, frozen=True, kw_only=True):
    """When a job should end."""

    early: datetime
    """One of ten ends earlier."""
    expected: datetime
    late: datetime
    """One of ten ends later."""


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """One stored move of a job."""

    sequence: int
    job_id: str
    from_state: JobState | None
    """None: the job was created."""
    to_state: JobState | None
    """None: the job was deleted."""
    reason: str
    time: datetime
    job: Job | None
    """The job right after the move; None: it was deleted."""
    tenant: str = DEFAULT_TENANT


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects jobs that match all that is set."""

    job_ids: list[str] = []
    states: list[JobState] = []
    labels: dict[str, str] = {}
    dataset_id: str | None = None
    base_model_id: str | None = None
    tenant: str | None = None

    def matches(self, job: Job) -> bool:
        """Tell whether the job is selected."""
        return (
            (not self.job_ids or job.job_id in self.job_ids)
            and (not self.states or job.state in self.states)
            and all(job.labels.get(key) == value for key, value in self.labels.items())
            and (self.dataset_id is None or job.dataset_id == self.dataset_id)
            and (self.base_model_id is None or job.base_model_id == self.base_model_id)
            and (self.tenant is None or job.tenant == self.tenant)
        )
