"""Leased chunks and what has become of their rows."""

from dataclasses import dataclass

from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import RowError


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsLeft:
    """Chunks of a job that no scheduler runs, by what they need."""

    job_id: str
    kind: ChunkKind
    model: str
    """As the rows wrote it; "" for invalid lines."""
    chunk_count: int
    row_count: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLengths:
    """The longest rows of a job that have no result, in tokens."""

    job_id: str
    longest_prompt_tokens: int
    """Estimated."""
    largest_max_tokens: int
    """The default of the job included."""


@dataclass(slots=True, kw_only=True)
class LeasedChunk:
    """The right to run a chunk, fenced by its epoch."""

    job_id: str
    chunk_no: int
    epoch: int
    kind: ChunkKind
    endpoint: str
    model: str
    adapter_source: str
    row_count: int
    done: int
    """Rows that have their result (or are not part of the job), as a bit set: row i is done when bit i is 1."""
    pack_key: str
    offset: int
    byte_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentToStore:
    """Result lines of some rows of one leased chunk, of one kind, compressed."""

    error: bool
    """Error file (True) or output file (False)."""
    row_count: int
    first_line: int
    last_line: int
    byte_count: int
    """Of the text, uncompressed."""
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResults:
    """What has become of some rows of one leased chunk since the last commit."""

    job_id: str
    chunk_no: int
    epoch: int
    row_count: int
    """Of the whole chunk: the width of the bit sets."""
    done: int
    """The rows, as a bit set."""
    unsuccessful: int
    """Those of them that go to the error file."""
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    invalid: int
    prompt_tokens: int
    completion_tokens: int
    errors: list[RowError]
    """A sample."""
    segments: list[SegmentToStore]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobActivity:
    """What one scheduler does for a job right now; not durable truth, only told to callers."""

    job_id: str
    in_flight: int
    retrying: int
    rows_per_second: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReceipt:
    """What a commit has done."""

    accepted: set[tuple[str, int]]
    """(job_id, chunk_no) of the results that were stored; the lease of the others is lost."""
    complete_jobs: list[str]
    """Jobs of which every row now has its result."""
