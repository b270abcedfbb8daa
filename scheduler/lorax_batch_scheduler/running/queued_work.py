"""A chunk's rows on one server, the rows in flight, and the rows of one adapter."""

from collections import deque
from collections.abc import Callable

from lorax_batch_scheduler.running.answer import READERS, Tokens
from lorax_batch_scheduler.running.row_request import RowRequest
from lorax_batch_scheduler.work import ChunkWork


class QueuedWork:
    """A chunk that a runner was given, with what it prepared for it."""

    __slots__ = ("adapter", "constrained", "elsewhere", "held", "job_id", "read", "request", "rows", "work")

    def __init__(self, work: ChunkWork, adapter: "AdapterRows", request: RowRequest) -> None:
        self.work = work
        self.adapter = adapter
        self.request = request
        self.rows: deque[int] = work.waiting
        self.read: Callable[[bytes], Tokens | None] = READERS[work.chunk.endpoint]
        self.job_id = work.job_id.encode()
        self.constrained = any(work.chunk.schemas)
        self.held = 0
        """Rows that wait outside `rows`: for a retry, or to be sent alone."""
        self.elsewhere: list[int] = []
        """Rows that another server should take."""

    def __repr__(self) -> str:
        work = self.work
        return f"<QueuedWork {work.job_id}/{work.lease.chunk_no} waiting={len(self.rows)} in_flight={work.in_flight}>"

    @property
    def settled(self) -> bool:
        """Whether nothing of it is left to do here."""
        return not self.rows and not self.held and not self.work.in_flight


class AdapterRows:
    """The rows of one adapter, those to be sent again before the others."""

    __slots__ = ("deferrals", "due", "failed_alone", "in_flight", "name", "not_before", "sent_in_turn", "warm", "works")

    def __init__(self, name: str, *, warm: bool) -> None:
        self.name = name
        """"" is the base model, which is always warm."""
        self.warm = warm
        """Whether the server has it loaded, as far as can be told."""
        self.works: deque[QueuedWork] = deque()
        self.due: deque[tuple[QueuedWork, int]] = deque()
        self.in_flight = 0
        self.not_before = 0.0
        """Monotonic seconds: no canary earlier."""
        self.deferrals = self.failed_alone = 0
        self.sent_in_turn = 0

    def __repr__(self) -> str:
        state = "warm" if self.warm else "cold"
        return f"<AdapterRows '{self.name}' {state} waiting={self.count()} in_flight={self.in_flight}>"

    def count(self) -> int:
        """Return how many rows could be sent."""
        return len(self.due) + sum(len(queued.rows) for queued in self.works)

    def pop(self) -> tuple[QueuedWork, int] | None:
        """Take the next row."""
        if self.due:
            queued, row = self.due.popleft()
            queued.held -= 1
            return queued, row
        return self.pop_fresh()

    def pop_fresh(self) -> tuple[QueuedWork, int] | None:
        """Take the next row that does not wait to be sent again."""
        works = self.works
        while works:
            queued = works[0]
            if queued.rows:
                return queued, queued.rows.popleft()
            works.popleft()
            self.sent_in_turn += len(queued.work.chunk.lines)
        return None

    def has_rows(self) -> bool:
        """Tell whether a row could be sent; forgets chunks that have none left."""
        while self.works and not self.works[0].rows:
            self.works.popleft()
        return bool(self.due or self.works)


class Flight:
    """A row in flight."""

    __slots__ = ("canary", "company", "max_tokens", "queued", "reservation", "row")

    def __init__(self, queued: QueuedWork, row: int, *, canary: bool = False, company: int = 0) -> None:
        self.queued = queued
        self.row = row
        self.canary = canary
        """Whether it makes the server load its adapter; it is never cancelled."""
        self.company = company
        """How many rows may be in flight with it, all of them suspects; 0: as many as the limit allows."""
        self.max_tokens = 0
        self.reservation = 0
        """Tokens that the server holds for it."""

    def __repr__(self) -> str:
        return f"<Flight {self.queued.work.job_id} line {self.queued.work.chunk.lines[self.row]}>"
