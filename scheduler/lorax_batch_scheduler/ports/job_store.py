"""Where jobs are kept."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from lorax_batch_scheduler.estimates.token_lengths import AdapterLeft
from lorax_batch_scheduler.job import Job, JobAdmission, JobEta, JobEvent, JobFilter, NewJob, StateChange
from lorax_batch_scheduler.job_secrets import JobSecrets
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.tenant import DEFAULT_TENANT


class JobStore(Protocol):
    """Jobs and their state. Raises `NotFoundError` for unknown ids, `StateConflictError` for a forbidden move."""

    async def create_job(self, new: NewJob) -> Job:
        """Store a job with its chunks. With a known `request_id`, return that job.

        Raises `InvalidInputError` when the dataset is FAILED or its rows name another base model, `QuotaExceededError`.
        """
        ...

    async def find_job_by_request(self, request_id: str, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        """Return the job that a tenant made with this `request_id`."""
        ...

    async def get_job(self, job_id: str) -> Job: ...

    async def get_jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """Return those of the jobs that exist, in one query."""
        ...

    async def list_jobs(self, where: JobFilter, *, page_size: int, page_token: str) -> Page[Job]:
        """Return jobs, newest first. Raises `InvalidInputError` for a token that is not ours."""
        ...

    async def move_job(self, job_id: str, event: JobEvent, *, reason: str = "") -> Job:
        """Move a job by an event, append the state change, notify watchers."""
        ...

    async def explain_jobs(self, reasons: dict[str, str]) -> None:
        """Change the reasons of waiting jobs; those that are not QUEUED, STARTING or RUNNING keep theirs."""
        ...

    async def rows_unfinished(self, job_ids: Sequence[str]) -> dict[str, tuple[AdapterLeft, ...]]:
        """Return by job what has no result yet, whoever runs it; jobs with nothing left are missing.

        Rows without `max_tokens` count with the job's default where no row of their chunk has one, else as 0.
        """
        ...

    async def admit_jobs(self, found: dict[str, JobAdmission]) -> None:
        """Store what was found of jobs when they came; those that have an answer or have ended keep theirs."""
        ...

    async def foretell_jobs(self, etas: dict[str, JobEta | None]) -> None:
        """Store when jobs should end (None: nothing can be said), and tell watchers; pass only what has changed."""
        ...

    async def update_job(
        self,
        job_id: str,
        *,
        priority: int | None = None,
        deadline: datetime | None = None,
        clear_deadline: bool = False,
        labels: dict[str, str] | None = None,
    ) -> Job:
        """Change what is given. Raises `StateConflictError` when the job has ended."""
        ...

    async def retry_job(self, job_id: str, *, new_job_id: str, request_id: str | None, traceparent: str = "") -> Job:
        """Make a new job of the rows of an ended one that failed, were cancelled or expired.

        `traceparent`: of the caller who asks for it; "": it sent none.

        Raises `QuotaExceededError`.
        """
        ...

    async def delete_job(self, job_id: str, *, reason: str = "deleted") -> Job:
        """Forget an ended job and return what it was; what it leaves behind is noted for `Remains` and `Removals`."""
        ...

    async def secrets(self, job_id: str) -> JobSecrets:
        """Return the job's tokens; only for its servers and the requests to them. Raises `SecretUnreadableError`."""
        ...

    async def unfinished_jobs(self) -> list[Job]:
        """Return every job that has not ended, oldest first."""
        ...


class EventStore(Protocol):
    """What happened to jobs, in order."""

    async def latest_sequence(self) -> int: ...

    async def state_changes(self, after: int, *, limit: int) -> list[StateChange]:
        """Return state changes in their order; those of deleted jobs may be missing, but for the one that says so.

        Raises `SequenceTooOldError` when some after it are no longer kept.
        """
        ...

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(job_id)` on the event loop whenever some process changed a job ("" : all may have changed);
        return what ends that."""
        ...
