"""What has expired, and what is left of what was deleted."""

from datetime import timedelta
from typing import Protocol

import msgspec

from lorax_batch_scheduler.job import ResultFile


class FinishedResults(msgspec.Struct, frozen=True, kw_only=True):
    """An ended job whose files are written, and whose segments can go."""

    job_id: str
    output_file: ResultFile
    error_file: ResultFile
    results_in: str
    """SEGMENTS: its ranges are not written yet; BOTH: they are, and segments are left."""


class JobRemains(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted job of which rows are still there."""

    job_id: str
    rows_gone: bool
    """Only its events are left."""


class WebhookBacklog(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest state change that an active webhook has still to tell."""

    webhook_id: str
    sequence: int
    age: timedelta


class RemainsStore(Protocol):
    """What deleted jobs have left behind. Raises `DatabaseError` when out of reach."""

    async def due_remains(self, *, limit: int) -> list[JobRemains]:
        """Return what may go by now: events only when no active webhook has still to tell them."""
        ...

    async def remains_of(self, job_id: str) -> JobRemains | None: ...

    async def sweep_rows(self, job_id: str, *, limit: int) -> int:
        """Delete about `limit` of the job's rows; return how many that were."""
        ...

    async def sweep_events(self, job_id: str, *, limit: int) -> int:
        """Delete so many of the job's state changes, but for the one that tells of its deletion."""
        ...

    async def put_off_remains(self, job_id: str, *, events_in: timedelta) -> None:
        """All but its events is gone; they are due after that time."""
        ...

    async def forget_remains(self, job_id: str) -> None:
        """Nothing is left."""
        ...


class RetentionStore(Protocol):
    """What may be deleted, on database time. Raises `DatabaseError` when out of reach; a call is one transaction."""

    async def take_turn(self, scheduler_id: str, turn: timedelta) -> bool:
        """Take or keep the right to delete for so long; False: another scheduler has it, and lives."""
        ...

    async def end_turn(self, scheduler_id: str) -> None: ...

    async def jobs_to_compact(self, kept: timedelta, *, limit: int) -> list[FinishedResults]:
        """Return jobs that ended longer ago than that, the oldest first."""
        ...

    async def write_ranges(self, job: FinishedResults) -> bool:
        """Write where its rows are in its files, from where they are read from then on.

        False: the files are not as long as the segments together; these stay for good then.
        """
        ...

    async def keep_segments(self, job_id: str) -> None:
        """Its files are not what they should be: never drop its segments."""
        ...

    async def drop_segments(self, job_id: str, *, limit: int) -> int:
        """Drop so many segments of a job with ranges; return how many that were."""
        ...

    async def expired_jobs(self, kept: timedelta, *, limit: int) -> list[str]:
        """Return jobs that ended longer ago than that, the oldest first."""
        ...

    async def expired_datasets(self, kept: timedelta, *, limit: int) -> list[str]:
        """Return datasets that no job has needed for so long, the longest unused first."""
        ...

    async def expire_dataset(self, dataset_id: str, kept: timedelta) -> bool:
        """Delete it unless it was used meanwhile."""
        ...

    async def webhook_backlogs(self) -> list[WebhookBacklog]:
        """Return how far back each active webhook is that has something to tell."""
        ...

    async def disable_webhook(self, backlog: WebhookBacklog, reason: str) -> bool:
        """Send nothing more to it; False: it has told that state change meanwhile, or is disabled already."""
        ...

    async def expire_events(self, kept: timedelta, *, needed_from: int | None = None, limit: int) -> int:
        """Delete so many of the oldest state changes, all before `needed_from`; return how many that were."""
        ...
