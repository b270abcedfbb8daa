"""What the model knows of PostgreSQL: the rows that leases, commits and endings are about."""

from typing import NamedTuple

from lorax_batch_scheduler.job import JobState

Result = tuple[int, str]
"""A row of a chunk, and what its line says: one of the three below."""
OK, FAILED, NOT_RUN = "ok", "failed", "not run"


class Chunk(NamedTuple):
    """A row of `job_chunks`, with what `segments` holds of it."""

    job: int
    rows: int
    done: int = 0
    unsuccessful: int = 0
    owner: str | None = None
    epoch: int = 0
    stored: tuple[Result, ...] = ()
    """Sorted; a row that is there twice was stored twice."""

    @property
    def complete(self) -> bool:
        return self.done.bit_count() == self.rows


class Job(NamedTuple):
    """A row of `jobs`; deleted: all that is left is that it was there."""

    total: int
    state: JobState = JobState.QUEUED
    outcome: JobState | None = None
    ok: int = 0
    failed: int = 0
    not_run: int = 0
    has_files: bool = False
    deleted: bool = False
    finaliser: str | None = None
    """The scheduler that `job_finalising` names."""
    attempts: int = 0
    """Owners in a row that came to no end; 0: there is no row in `job_finalising`."""
    parts: tuple[tuple[int, int, str], ...] | None = None
    """The content of the parts of its file, as `job_outputs` records them."""

    @property
    def result_count(self) -> int:
        return self.ok + self.failed + self.not_run

    @property
    def ended(self) -> bool:
        return self.deleted or self.state.terminal


class Database(NamedTuple):
    """All of it."""

    jobs: tuple[Job, ...]
    chunks: tuple[Chunk, ...]
    schedulers: tuple[tuple[str, bool], ...] = ()
    """Names in order, and whether `lease_until` lies ahead."""

    def with_job(self, number: int, job: Job) -> "Database":
        return self._replace(jobs=(*self.jobs[:number], job, *self.jobs[number + 1 :]))

    def with_chunk(self, number: int, chunk: Chunk) -> "Database":
        return self._replace(chunks=(*self.chunks[:number], chunk, *self.chunks[number + 1 :]))

    def is_known(self, name: str) -> bool:
        return any(known == name for known, _ in self.schedulers)

    def is_alive(self, name: str | None) -> bool:
        """Whether the lease of a scheduler runs."""
        return (name, True) in self.schedulers

    def chunks_of(self, job: int) -> list[int]:
        return [number for number, chunk in enumerate(self.chunks) if chunk.job == job]

    def content(self, job: int) -> tuple[tuple[int, int, str], ...]:
        """Return the segments of a job as (chunk, row, what the line says), sorted."""
        return tuple((number, *result) for number in self.chunks_of(job) for result in self.chunks[number].stored)
