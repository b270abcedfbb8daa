"""A dataset as the service tells it."""

import enum
from dataclasses import dataclass
from datetime import datetime

from lorax_batch.v1 import dataset_pb2

from lorax_batch_client.timestamps import datetime_from


class DatasetState(enum.Enum):
    """Where a dataset stands."""

    UNKNOWN = "unknown"
    """A state that this client does not know: the service is newer."""
    UPLOADING = "uploading"
    VALIDATING = "validating"
    READY = "ready"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self in (DatasetState.READY, DatasetState.FAILED)

    @classmethod
    def from_proto(cls, number: int) -> "DatasetState":
        """Return the state with that number in the contract."""
        try:
            name = dataset_pb2.DatasetState.Name(dataset_pb2.DatasetState.ValueType(number))
            return cls[name.removeprefix("DATASET_STATE_")]
        except (KeyError, ValueError):
            return cls.UNKNOWN


class OnInvalid(enum.Enum):
    """What to do when some lines of a dataset are not valid rows."""

    FAIL = "fail"
    """The dataset becomes FAILED with the full report."""
    SKIP = "skip"
    """The valid rows run; each invalid one gets its line in the job's error file."""

    def to_proto(self) -> dataset_pb2.OnInvalid.ValueType:
        """Return its number in the contract."""
        return dataset_pb2.OnInvalid.Value(f"ON_INVALID_{self.name}")

    @classmethod
    def from_proto(cls, number: int) -> "OnInvalid":
        """Return the one with that number in the contract; unset is FAIL."""
        return cls.SKIP if number == dataset_pb2.ON_INVALID_SKIP else cls.FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCount:
    """How many rows name that model (adapter); "" is the base model of the job."""

    model: str
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidLine:
    """One line of a dataset that is not a valid row."""

    line: int
    """Counted from 1."""
    code: str
    param: str
    """The field at fault, as a path; empty when it is the line as a whole."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidCode:
    """How often one thing is wrong, and the first lines where it is."""

    code: str
    line_count: int
    first_lines: tuple[InvalidLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An immutable, validated set of rows, as it was when the service answered."""

    dataset_id: str
    name: str
    state: DatasetState
    reason: str
    """Why it is in that state, for a person; empty when there is nothing to say."""
    on_invalid: OnInvalid
    row_count: int
    """Lines that hold a row, the invalid ones included."""
    invalid_row_count: int
    byte_count: int
    sha256: str
    estimated_prompt_tokens: int
    models: tuple[ModelCount, ...]
    model_count: int
    """How many distinct models there are, also those that `models` leaves out."""
    invalid: tuple[InvalidCode, ...]
    create_time: datetime | None
    finish_time: datetime | None
    tenant: str = ""
    """Whose it is."""
    expire_time: datetime | None = None
    """When it is deleted unless a job uses it before; None: a job does, it is kept, or it was not asked for."""

    @classmethod
    def from_proto(cls, message: dataset_pb2.Dataset) -> "Dataset":
        """Return the dataset of a message."""
        return cls(
            dataset_id=message.dataset_id,
            name=message.name,
            state=DatasetState.from_proto(message.state),
            reason=message.reason,
            on_invalid=OnInvalid.from_proto(message.on_invalid),
            row_count=message.row_count,
            invalid_row_count=message.invalid_row_count,
            byte_count=message.byte_count,
            sha256=message.sha256,
            estimated_prompt_tokens=message.estimated_prompt_tokens,
            models=tuple(ModelCount(model=one.model, row_count=one.row_count) for one in message.models),
            model_count=message.model_count,
            invalid=tuple(_read_invalid_code(one) for one in message.invalid.codes),
            create_time=datetime_from(message.create_time),
            finish_time=datetime_from(message.finish_time),
            tenant=message.tenant,
            expire_time=datetime_from(message.expire_time),
        )


def _read_invalid_code(message: dataset_pb2.InvalidCode) -> InvalidCode:
    first_lines = (
        InvalidLine(line=one.line, code=one.code, param=one.param, message=one.message) for one in message.first_lines
    )
    return InvalidCode(code=message.code, line_count=message.line_count, first_lines=tuple(first_lines))
