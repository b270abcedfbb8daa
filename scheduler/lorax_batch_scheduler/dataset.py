"""A dataset: an immutable, validated set of rows, stored once as chunks."""

from datetime import datetime
from enum import StrEnum

import msgspec

from lorax_batch_scheduler.tenant import DEFAULT_TENANT


class DatasetState(StrEnum):
    """Where a dataset is; the same words in SQL and in the contract."""

    UPLOADING = "UPLOADING"
    VALIDATING = "VALIDATING"
    READY = "READY"
    FAILED = "FAILED"


class OnInvalid(StrEnum):
    """What becomes of a dataset in which some lines are not valid rows."""

    FAIL = "FAIL"
    SKIP = "SKIP"


class ModelCount(msgspec.Struct, frozen=True):
    """How many rows name a value of `model`; "" is the base model."""

    model: str
    row_count: int


class InvalidLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one line."""

    line: int
    """Counted from 1."""
    code: str
    param: str
    """The field at fault as a path; empty when it is the line as a whole."""
    message: str


class InvalidCode(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of fault: how often, and where first."""

    code: str
    line_count: int
    first_lines: list[InvalidLine]


class InvalidReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every invalid line counted, the first of each code shown."""

    line_count: int = 0
    codes: list[InvalidCode] = []


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset as it is stored."""

    dataset_id: str
    tenant: str = DEFAULT_TENANT
    name: str
    state: DatasetState
    on_invalid: OnInvalid
    create_time: datetime
    update_time: datetime
    reason: str = ""
    source_path: str | None = None
    """The file on the server that it is imported from; None: it is uploaded."""
    stored_bytes: int = 0
    declared_sha256: str | None = None
    sha256: str | None = None
    row_count: int = 0
    invalid_row_count: int = 0
    prompt_tokens: int = 0
    """Estimated."""
    models: list[ModelCount] = []
    model_count: int = 0
    invalid: InvalidReport = InvalidReport()
    storage_prefix: str = ""
    """Where its chunks are in the object store; ends in `/`."""
    finish_time: datetime | None = None
    max_rows: int | None = None
    """Its tenant's quota, told to who ingests it; None: no limit."""
    traceparent: str = ""
    """Of the call that made it, as it came; "": there was none."""
    unused_since: datetime | None = None
    """When it was last written or a job of it ended; None: a job needs it, or it was not asked for."""


class NewDataset(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for, checked."""

    dataset_id: str
    tenant: str = DEFAULT_TENANT
    name: str
    on_invalid: OnInvalid = OnInvalid.FAIL
    source_path: str | None = None
    request_id: str | None = None
    traceparent: str = ""
    """Of the caller, as it came; "": there was none."""


class UploadPart(msgspec.Struct, frozen=True, kw_only=True):
    """Some consecutive bytes of an upload, stored as one object."""

    first_byte: int
    byte_count: int
    key: str


class DatasetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What ingest found out about the whole of a dataset."""

    sha256: str
    """Of the bytes as they came, before decompression."""
    byte_count: int
    row_count: int
    """All rows, the invalid ones included."""
    invalid: InvalidReport
    prompt_tokens: int
    models: list[ModelCount]
    """At most 1,000, most rows first."""
    model_count: int


class ChunkKind(StrEnum):
    """What a stored chunk holds."""

    ROWS = "ROWS"
    """Rows to send: a `Chunk`."""
    INVALID = "INVALID"
    """Lines that are no valid rows, for the error file: an `InvalidChunk`."""


class ChunkEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where one chunk of a dataset is stored and what is in it."""

    chunk_no: int
    """From 0, dense."""
    kind: ChunkKind
    endpoint: str
    model: str
    adapter_source: str
    row_count: int
    prompt_tokens: int
    max_tokens: int
    """The sum over rows; rows without `max_tokens` count 0."""
    first_line: int
    last_line: int
    pack: int
    """The number of the pack object that holds it."""
    offset: int
    byte_count: int
    longest_prompt_tokens: int = 0
    """Of one row, estimated; 0: not known, as of chunks that were written before it was noted."""
    largest_max_tokens: int = 0
    """Of one row; 0: none sets it."""
