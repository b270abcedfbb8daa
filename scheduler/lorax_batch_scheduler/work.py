"""A leased chunk on its way through a server, and where its results go."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from lorax_batch_scheduler.chunk import Chunk
from lorax_batch_scheduler.job import RowError
from lorax_batch_scheduler.ports.lease import LeasedChunk


@dataclass(slots=True, kw_only=True)
class RowTrouble:
    """What a row that did not succeed at once has been through; most rows never have one."""

    attempts: int = 0
    """Answers that count against the row's limit."""
    batch_failures: int = 0
    """Unexplained batch-wide failures that it was in flight for."""
    last_server: str = ""
    not_before: float = 0.0
    """Monotonic seconds: do not send it earlier."""
    company: int = 0
    """Send it apart from all that nobody suspects, with so many suspects in flight at most, itself included; 1 is
    alone, 0 as any other row."""
    excused: int = 0
    """Failures that were put down to the server."""
    elsewhere: bool = False
    """Another server should take it, if there is one."""
    max_tokens: int = 0
    """What it may ask for, as a server said; 0: what it asks for itself."""


@dataclass(slots=True, kw_only=True, eq=False)
class ChunkWork:
    """A leased chunk with its rows, as one server works on it. Belongs to one server at a time."""

    lease: LeasedChunk
    chunk: Chunk
    adapter: str
    """What the server must see as the adapter; "" for the base model."""
    authorization: bytes | None
    """The value of the Authorization header, when the job has a token."""
    default_max_tokens: int
    """For rows that set none."""
    adapter_source: str
    """The row's own, else the job's; "" for the server's default."""
    server_id: str = ""
    """The server that has it."""
    waiting: deque[int] = field(default_factory=deque)
    """Rows to send, by their index in the chunk."""
    in_flight: int = 0
    trouble: dict[int, RowTrouble] = field(default_factory=dict)
    traceparent: bytes = b""
    """The value of the header of that name; b"": none is sent."""
    given_at: datetime | None = None
    """When it was first given to a server."""
    refused_by: set[str] = field(default_factory=set)
    """Servers that will not run its adapter; any other is better."""
    withdrawn: bool = False
    """No more rows of it may be sent; those in flight may end."""
    rows: int = -1
    """Of the chunk, those that are its own, as a bit set: other servers may have parts of the same chunk. -1: all."""

    @property
    def job_id(self) -> str:
        """The job it belongs to."""
        return self.lease.job_id

    @property
    def is_over(self) -> bool:
        """Whether each of its rows has a stored result."""
        return not self.rows & ~self.lease.done & ((1 << self.lease.row_count) - 1)

    def split_off(self, rows: list[int]) -> "ChunkWork":
        """Return rows that are no longer in `waiting` as work of its own, under the same lease."""
        bits = sum(1 << row for row in rows)
        self.rows &= ~bits
        refused = set(self.refused_by)
        return replace(self, waiting=deque(rows), in_flight=0, trouble={}, refused_by=refused, rows=bits)


class RowOutcome(StrEnum):
    """What a row's result line says."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    INVALID = "INVALID"


class ResultSink(Protocol):
    """Takes results in, synchronously; they are durable only some time later."""

    @property
    def congested(self) -> bool:
        """Whether so much waits to be committed that no new rows should be sent for now."""
        ...

    @property
    def send_until(self) -> float:
        """Monotonic seconds: the leases may be lost from then on, so no new rows should be sent."""
        ...

    def add(
        self,
        lease: LeasedChunk,
        row: int,
        line: int,
        text: bytes,
        outcome: RowOutcome,
        prompt_tokens: int,
        completion_tokens: int,
        error: RowError | None = None,
    ) -> None:
        """Take the result of a row: its index in the chunk, its line of the dataset, its JSON line with newline."""
        ...
