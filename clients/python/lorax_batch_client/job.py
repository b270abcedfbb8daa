"""A job as the service tells it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from lorax_batch.v1 import job_pb2

from lorax_batch_client.server_config import ServerConfig
from lorax_batch_client.timestamps import datetime_from


class JobState(enum.Enum):
    """Where a job stands."""

    UNKNOWN = "unknown"
    """A state that this client does not know: the service is newer."""
    VALIDATING = "validating"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PAUSED = "paused"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self in TERMINAL_STATES

    @classmethod
    def from_proto(cls, number: int) -> "JobState":
        """Return the state with that number in the contract."""
        try:
            return cls[job_pb2.JobState.Name(job_pb2.JobState.ValueType(number)).removeprefix("JOB_STATE_")]
        except (KeyError, ValueError):
            return cls.UNKNOWN

    def to_proto(self) -> job_pb2.JobState.ValueType:
        """Return its number in the contract."""
        return job_pb2.JobState.Value(f"JOB_STATE_{self.name}")


class JobAdmission(enum.Enum):
    """Whether a job's deadline can be met, as found when it came."""

    UNKNOWN = "unknown"
    """Not judged yet, or an answer that this client does not know."""
    FEASIBLE = "feasible"
    """Nine of ten such jobs end in time, and no other misses its deadline for it."""
    AT_RISK = "at risk"
    INFEASIBLE = "infeasible"
    """Not one of ten ends in time, even if the job goes first; or nothing can run it."""

    @classmethod
    def from_proto(cls, number: int) -> "JobAdmission":
        """Return the answer with that number in the contract."""
        try:
            value = job_pb2.JobAdmission.ValueType(number)
            return cls[job_pb2.JobAdmission.Name(value).removeprefix("JOB_ADMISSION_")]
        except (KeyError, ValueError):
            return cls.UNKNOWN


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows by where they stand; the parts always add up to `total`."""

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
        """Rows that have their line in the output or the error file."""
        return self.total - self.pending - self.in_flight - self.retrying

    @classmethod
    def from_proto(cls, message: job_pb2.Counts) -> "Counts":
        """Return the counts of a message."""
        return cls(
            total=message.total,
            pending=message.pending,
            in_flight=message.in_flight,
            retrying=message.retrying,
            succeeded=message.succeeded,
            failed=message.failed,
            cancelled=message.cancelled,
            expired=message.expired,
            invalid=message.invalid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of the rows that have ended, as the servers counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Exact, in whole units of the currency."""

    amount: Decimal = Decimal(0)
    currency: str = "USD"

    def __str__(self) -> str:
        return f"{self.amount:.4f} {self.currency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is and how fast it goes."""

    fraction: float
    """Rows that have ended of all rows, 0 to 1."""
    rows_per_second: float
    tokens_per_second: float
    eta: datetime | None
    """When the last row should end."""
    remaining: timedelta | None
    eta_early: datetime | None = None
    """One of ten jobs ends before this."""
    eta_late: datetime | None = None
    """One of ten jobs ends after this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowError:
    """One row that did not succeed."""

    line: int
    """The line of the dataset, counted from 1."""
    custom_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """A finished file of results, and what its bytes must be."""

    row_count: int
    byte_count: int
    sha256: str

    @classmethod
    def from_proto(cls, message: job_pb2.ResultFile) -> "ResultFile":
        """Return the file that a message describes."""
        return cls(row_count=message.row_count, byte_count=message.byte_count, sha256=message.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a dataset against one server configuration, as it was when the service answered."""

    job_id: str
    dataset_id: str
    server_config: ServerConfig
    base_model_id: str
    """The catalogue's name of the base model."""
    state: JobState
    reason: str
    """Why it is in that state, for a person; empty when there is nothing to say."""
    counts: Counts
    usage: Usage
    cost: Cost
    progress: Progress | None
    priority: int
    deadline: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    retry_of: str = ""
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    update_time: datetime | None
    errors: tuple[RowError, ...] = ()
    output_file: ResultFile | None
    error_file: ResultFile | None
    error_threshold: float = 0.0
    default_max_tokens: int = 0
    queue_position: int = 0
    """1 is next; 0 when it does not wait."""
    sequence: int = 0
    admission: JobAdmission = JobAdmission.UNKNOWN
    admission_reason: str = ""
    earliest_finish_time: datetime | None = None
    """When it could end at best, as found when it came."""
    tenant: str = ""
    """Whose it is."""
    expire_time: datetime | None = None
    """When it is deleted with its results; None: it has not ended, or is kept for ever."""

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.state.is_terminal

    @classmethod
    def from_proto(cls, message: job_pb2.Job) -> "Job":
        """Return the job of a message."""
        return cls(
            job_id=message.job_id,
            dataset_id=message.dataset_id,
            server_config=ServerConfig.from_proto(message.server_config),
            base_model_id=message.base_model_id,
            state=JobState.from_proto(message.state),
            reason=message.reason,
            counts=Counts.from_proto(message.counts),
            usage=_read_usage(message.usage),
            cost=_read_cost(message.cost),
            progress=_read_progress(message.progress) if message.HasField("progress") else None,
            priority=message.priority,
            deadline=datetime_from(message.deadline),
            labels=dict(message.labels),
            retry_of=message.retry_of,
            create_time=datetime_from(message.create_time),
            start_time=datetime_from(message.start_time),
            end_time=datetime_from(message.end_time),
            update_time=datetime_from(message.update_time),
            errors=tuple(_read_row_error(one) for one in message.errors),
            output_file=ResultFile.from_proto(message.output_file) if message.HasField("output_file") else None,
            error_file=ResultFile.from_proto(message.error_file) if message.HasField("error_file") else None,
            error_threshold=message.error_threshold,
            default_max_tokens=message.default_max_tokens,
            queue_position=message.queue_position,
            sequence=message.sequence,
            admission=JobAdmission.from_proto(message.admission),
            admission_reason=message.admission_reason,
            earliest_finish_time=datetime_from(message.earliest_finish_time),
            tenant=message.tenant,
            expire_time=datetime_from(message.expire_time),
        )


def _read_usage(message: job_pb2.Usage) -> Usage:
    return Usage(
        prompt_tokens=message.prompt_tokens,
        completion_tokens=message.completion_tokens,
        total_tokens=message.total_tokens,
    )


def _read_cost(message: job_pb2.Cost) -> Cost:
    return Cost(amount=Decimal(message.micros).scaleb(-6), currency=message.currency or "USD")


def _read_progress(message: job_pb2.Progress) -> Progress:
    return Progress(
        fraction=message.fraction,
        rows_per_second=message.rows_per_second,
        tokens_per_second=message.tokens_per_second,
        eta=datetime_from(message.eta),
        remaining=message.remaining.ToTimedelta() if message.HasField("remaining") else None,
        eta_early=datetime_from(message.eta_early),
        eta_late=datetime_from(message.eta_late),
    )


def _read_row_error(message: job_pb2.RowError) -> RowError:
    return RowError(line=message.line, custom_id=message.custom_id, code=message.code, message=message.message)
