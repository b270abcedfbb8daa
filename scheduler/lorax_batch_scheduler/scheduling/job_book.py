"""The scheduler's memory of unfinished jobs: what is known, what is left of them, how fast they go."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import RUNNABLE_STATES, SETTLING_STATES, Job, JobState
from lorax_batch_scheduler.launching.row_need import RowNeed
from lorax_batch_scheduler.packing import AdapterRows, QueuedRows, WaitingJob
from lorax_batch_scheduler.ports.lease import RowLengths, RowsLeft
from lorax_batch_scheduler.rate import Rate
from lorax_batch_scheduler.work import ChunkWork


@dataclass(slots=True, eq=False)
class KnownJob:
    """An unfinished job as this process knows it."""

    job: Job
    rows: Rate
    tokens: Rate
    left: dict[str, AdapterRows] = field(default_factory=dict)
    """Rows that nobody runs by their `model`, as last read and counted down since."""
    invalid_left: bool = False
    """Whether there are invalid lines without their error line."""
    left_is_stale: bool = True
    left_read_at: float = 0.0
    """Monotonic seconds."""
    lengths: RowLengths | None = None
    """How long its rows are; None: not read yet."""
    need: RowNeed | None = None
    """What limits a server must have for its rows; None: any."""
    _works: dict[int, list[ChunkWork]] = field(default_factory=dict)
    """Chunks of it that servers of this process have been given, by their number; in parts when several have them."""
    nothing_out: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there are none."""
    was_given: bool = False
    """Whether a server of this process has ever been given rows of it."""
    hold_until: float = 0.0
    """Monotonic seconds: its chunks could not be read; do not try again earlier."""
    trouble: str = ""
    """Why its chunks could not be read, for people; "" when the last one could."""
    authorization: bytes | None = None
    secret_is_known: bool = False
    aliases: frozenset[str] = frozenset()
    rank: int = 0
    """Its place in the order of the last placing; 0: it came after that."""
    wait_reason: str = ""
    """Why no server is started for it, as the last placing said."""
    unfit: bool = False
    """No slot of this process could ever host its server, as the last placing said."""
    told_reason: str = ""
    """What this process has last said of why it waits."""
    changed_at: float = 0.0
    """Monotonic seconds: when its state or its reason was last seen to change."""

    def take_over(self, job: Job, now: float) -> None:
        """Take over what was read."""
        # Rows come back to the queue when a job is resumed; what is left must be read again.
        if job.state is JobState.QUEUED and self.job.state is not JobState.QUEUED:
            self.left_is_stale = True
        if (job.state, job.reason) != (self.job.state, self.job.reason):
            self.changed_at = now
        self.job = job

    def adapter_of(self, model: str) -> str:
        """Return what servers know a row's `model` as: "" for the base model."""
        return "" if model.casefold() in self.aliases else model

    def give_out(self, work: ChunkWork) -> None:
        """Remember a chunk that a server was given."""
        self.was_given = True
        self._works.setdefault(work.lease.chunk_no, []).append(work)
        self.nothing_out.clear()

    @property
    def works(self) -> list[ChunkWork]:
        """What servers of this process have been given of it."""
        return [work for works in self._works.values() for work in works]

    def works_of(self, chunk_no: int) -> list[ChunkWork]:
        """Return the parts that a chunk is in, mostly one; none when no server here has it."""
        return self._works.get(chunk_no, [])

    def take_back(self, chunk_no: int) -> list[ChunkWork]:
        """Forget a chunk that is done, returned or lost."""
        works = self._works.pop(chunk_no, [])
        if not self._works:
            self.nothing_out.set()
        return works

    def queued(self) -> Iterator[QueuedRows]:
        """Yield the rows that servers have been given and have not sent, in the order in which they were given."""
        if not self._works:
            return
        job = self.waiting_job()
        for chunk_no, works in self._works.items():
            for part, work in enumerate(works):
                if work.waiting and not work.withdrawn:
                    yield QueuedRows(
                        server_id=work.server_id,
                        job=job,
                        chunk_no=chunk_no,
                        part=part,
                        row_count=len(work.waiting),
                        refused_by=frozenset(work.refused_by),
                    )

    def holds(self, work: ChunkWork) -> bool:
        """Whether a chunk is still out under this lease; not so when the lease was lost."""
        return work in self.works_of(work.lease.chunk_no)

    def forget_left(self, now: float) -> None:
        """What is left is about to be read anew."""
        self.left, self.invalid_left, self.left_is_stale = {}, False, False
        self.left_read_at = now

    def learn_left(self, left: RowsLeft) -> None:
        """Take in what was read."""
        if left.kind is ChunkKind.INVALID:
            self.invalid_left = True
            return
        self.left[left.model] = AdapterRows(
            model=left.model,
            adapter=self.adapter_of(left.model),
            chunk_count=left.chunk_count,
            row_count=left.row_count,
        )

    def waiting_job(self) -> WaitingJob:
        """Return it as the planner of rows sees it."""
        job = self.job
        return WaitingJob(
            job_id=job.job_id,
            base_model_id=job.base_model_id,
            family=self.family,
            rank=self.rank,
            priority=job.priority,
            create_time=job.create_time,
            rows=tuple(self.left.values()),
            told=self.wait_reason,
            row_tokens=self.need.total if self.need is not None else 0,
            prompt_tokens=self.need.input if self.need is not None else 0,
            given_rows=sum(len(work.waiting) + work.in_flight for work in self.works),
        )

    @property
    def family(self) -> str:
        """The hash that jobs share whose rows can run side by side on one server."""
        return self.job.server_config.family(self.job.base_model_id)

    def use(self, model: str, chunk_count: int, row_count: int, asked: int) -> None:
        """Count down what was claimed; fewer chunks than asked for means that no more are there."""
        known = self.left.pop(model, None)
        if known is None or chunk_count < asked or known.chunk_count <= chunk_count:
            return
        chunks = known.chunk_count - chunk_count
        self.left[model] = replace(known, chunk_count=chunks, row_count=max(known.row_count - row_count, chunks))


class JobBook:
    """All jobs that have not ended."""

    def __init__(self) -> None:
        self._known: dict[str, KnownJob] = {}

    def __iter__(self) -> Iterator[KnownJob]:
        return iter(list(self._known.values()))

    def get(self, job_id: str) -> KnownJob | None:
        """Return what is known of a job; None when it has ended or is unknown."""
        return self._known.get(job_id)

    def update(self, jobs: Iterable[Job], now: float) -> None:
        """Take over what was read."""
        for job in jobs:
            known = self._known.get(job.job_id)
            if known is None:
                known = self._known[job.job_id] = KnownJob(job=job, rows=Rate(now), tokens=Rate(now), changed_at=now)
                known.nothing_out.set()
                known.aliases = frozenset(alias.casefold() for alias in ["", *job.base_model_aliases])
            known.take_over(job, now)

    def forget(self, job_id: str) -> KnownJob | None:
        """Forget a job that has ended or is gone."""
        return self._known.pop(job_id, None)

    def keep_only(self, job_ids: Iterable[str]) -> list[KnownJob]:
        """Forget all others and return them."""
        kept = set(job_ids)
        return [self._known.pop(job_id) for job_id in list(self._known) if job_id not in kept]

    @property
    def runnable(self) -> list[KnownJob]:
        """Jobs whose rows may be sent."""
        return [known for known in self._known.values() if known.job.state in RUNNABLE_STATES]

    @property
    def settling(self) -> list[KnownJob]:
        """Jobs that are to get their files."""
        return [known for known in self._known.values() if known.job.state in SETTLING_STATES]

    def waiting_jobs(self, now: float) -> tuple[WaitingJob, ...]:
        """Return runnable jobs as the planner sees them."""
        return tuple(known.waiting_job() for known in self.runnable if known.hold_until <= now)
