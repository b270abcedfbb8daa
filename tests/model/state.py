"""What the model knows of the processes, and of the world around them."""

from enum import StrEnum
from typing import NamedTuple

from tests.model.database import Database, Result
from tests.model.statements import Call, Results

Content = tuple[tuple[int, int, str], ...]


class Work(NamedTuple):
    """A leased chunk that a process runs; see `ChunkWork` and `JobBook`."""

    chunk: int
    epoch: int
    waiting: int
    """Rows to send, as bits."""
    flying: int = 0
    """Rows in flight."""
    left: int = 0
    """Rows whose results are not known to be committed."""
    sends: bool = True
    """Whether its waiting rows may still be sent."""
    known: bool = True
    """Whether the book has it; not so when its lease is known to be lost."""


class Batch(NamedTuple):
    """What a committer has gathered: results by chunk, and leases to give back behind them."""

    results: tuple[Results, ...] = ()
    releases: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.results or self.releases)


class Ending(NamedTuple):
    """A finaliser at work; the phase says what comes next."""

    job: int
    phase: str
    name: str
    content: Content = ()
    abandons: bool = False
    """Whether too many owners before came to no end: the job ends without its files."""


class Life(StrEnum):
    UP = "up"
    FROZEN = "frozen"
    DOWN = "down"


class Process(NamedTuple):
    """One scheduler process."""

    life: Life = Life.DOWN
    generation: int = 0
    registered: bool = False
    sure: bool = True
    """Whether `sure_until` lies ahead: never longer than `lease_until` does."""
    works: tuple[Work, ...] = ()
    batch: Batch = Batch()
    sending: Batch | None = None
    """What a commit took along whose answer was lost; it is sent again."""
    certain: bool = True
    """Whether no answer to a claim was lost since leases were last reconciled."""
    heard: bool = True
    """Whether it knows that its lease is lost, once it is."""
    ending: Ending | None = None


class Budget(NamedTuple):
    """How much may still happen that need not happen."""

    crashes: int = 0
    freezes: int = 0
    """A process stands still, longer than its lease perhaps, and goes on."""
    lost: int = 0
    """Answers of the database that do not arrive."""
    late: int = 0
    """Requests that reach the database after their sender has given up."""
    slow: int = 0
    """Leases that run out although their process is alive."""
    unended: int = 0
    """Finalisers that stop, but stay known as the one at work: no answer, or no database."""
    faults: int = 0
    """Finalisers that fail at something unforeseen."""
    drains: int = 0
    cancels: int = 0
    expiries: int = 0
    aborts: int = 0
    pauses: int = 0
    deletes: int = 0
    retries: int = 0
    failures: int = 0
    """Rows that fail."""


class State(NamedTuple):
    """All there is."""

    db: Database
    processes: tuple[Process, ...]
    budget: Budget
    calls_left: tuple[tuple[int, ...], ...]
    """How often each row of each chunk may still be sent: once, and once more for each crash, lost lease or drain."""
    late: tuple[Call, ...] = ()
    """Requests on their way whose senders have given up."""
    objects: tuple[Content | None, ...] = (None,)
    """The file of each job."""
    uploads: tuple[bool, ...] = (False,)
    """Whether there is an open upload for the file of each job."""
    wrong: str = ""
    """What a process did that it should not."""

    def disturbed(self) -> "State":
        """Allow every row another call."""
        return self._replace(calls_left=tuple(tuple(left + 1 for left in rows) for rows in self.calls_left))

    def with_process(self, number: int, process: Process) -> "State":
        return self._replace(processes=(*self.processes[:number], process, *self.processes[number + 1 :]))


def gather(batch: Batch, chunk: int, epoch: int, result: Result, *, by_chunk: bool) -> Batch:
    """Add a result as `Batch.of_lease` does: only the newest lease of a chunk counts."""
    for place, gathered in enumerate(batch.results):
        if gathered.chunk == chunk:
            if not by_chunk and gathered.epoch > epoch:
                return batch
            if by_chunk or gathered.epoch == epoch:
                gathered = gathered._replace(results=tuple(sorted((*gathered.results, result))))
            else:
                gathered = Results(chunk, epoch, (result,))
            return batch._replace(results=(*batch.results[:place], gathered, *batch.results[place + 1 :]))
    return batch._replace(results=tuple(sorted((*batch.results, Results(chunk, epoch, (result,))))))
