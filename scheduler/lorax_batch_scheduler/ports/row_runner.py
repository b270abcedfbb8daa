"""What sends rows to one server."""

from typing import Protocol

from lorax_batch_scheduler.fleet import ServerLimits, ServerStatus
from lorax_batch_scheduler.work import ChunkWork


class RowRunner(Protocol):
    """Sends the rows of the chunks it is given to one server, and hands results to a `ResultSink`."""

    @property
    def wants_work(self) -> bool: ...

    @property
    def queued_rows(self) -> int:
        """Rows given that are not in flight."""
        ...

    @property
    def look_ahead_rows(self) -> int:
        """How many rows it wants to have queued."""
        ...

    def give(self, work: ChunkWork) -> None:
        """Send the waiting rows of a chunk, by and by."""
        ...

    def withdraw(self, job_id: str) -> None:
        """Send no more rows of a job; its chunks come back when nothing of them is in flight."""
        ...

    def give_up(self, work: ChunkWork) -> None:
        """Send no more rows of a chunk; it comes back when nothing of it is in flight."""
        ...

    def split(self, work: ChunkWork, count: int) -> ChunkWork | None:
        """Take so many unsent rows out of a chunk, as work for another server; None: there are none to take."""
        ...

    def fill(self, part: float) -> None:
        """Have no more in flight than this part (0 to 1) of what the server says that it holds."""
        ...

    @property
    def fullness(self) -> float:
        """How much is in flight of what may be: 1 when no more rows would be sent."""
        ...

    @property
    def window_part(self) -> float:
        """How much may be in flight of what the server holds, as `fill` has said."""
        ...

    def drain(self) -> None:
        """Send no more rows at all."""
        ...

    def status(self) -> ServerStatus: ...

    def job_activity(self, job_id: str) -> tuple[int, int]:
        """Return how many rows of a job are in flight, and how many wait to be sent again."""
        ...

    async def run(self) -> None:
        """Work until `close`."""
        ...

    async def close(self, grace_s: float) -> None:
        """Let rows in flight end for so long, then close the connections."""
        ...


class LimitsProbe(Protocol):
    """Asks a server what it is."""

    async def read_limits(self) -> ServerLimits:
        """Raise `ServerUnreachableError` when it does not answer."""
        ...
