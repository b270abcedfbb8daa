"""The trace of each job: one span for the job, and in it ingest, plan, chunk (with a few rows), commit and finalise."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.dataset import Dataset
from lorax_batch_scheduler.errors import DatabaseError, NotFoundError
from lorax_batch_scheduler.job import Job, JobState
from lorax_batch_scheduler.ports.dataset_store import DatasetStore
from lorax_batch_scheduler.telemetry.trace_context import TraceContext, of_job
from lorax_batch_scheduler.telemetry.tracing import Attribute, Span, Tracer
from lorax_batch_scheduler.work import ChunkWork

COMMITS_EVERY_S: Final = 10.0
"""Commits come four times a second as long as a job runs: of each job, one in so long is told."""
ROWS_EVERY_S: Final = 1.0
"""Rows come by the thousand: one in so long is told, whosever it is."""
REMEMBERED: Final = 1_000

_log = structlog.get_logger()


class JobTraces:
    """Tells a tracer of what is done for jobs; where nothing is traced, every method returns at once."""

    def __init__(self, tracer: Tracer, datasets: DatasetStore, clock: Clock) -> None:
        self._tracer = tracer
        self._datasets = datasets
        self._clock = clock
        self._commit_told: dict[str, float] = {}
        self._row_told = 0.0

    def context_of(self, job: Job) -> TraceContext | None:
        """Return where the job's span belongs; None when the job is not traced here."""
        if not self._tracer.ratio:
            return None
        context = of_job(job.job_id, job.traceparent)
        if not job.traceparent and context.chance >= self._tracer.ratio:
            context = replace(context, sampled=False)
        return context if context.sampled else None

    def chunk_given(self, job: Job, work: ChunkWork) -> None:
        """A chunk is about to be given to a server: its requests carry where they belong."""
        context = self.context_of(job)
        work.given_at = self._clock.now()
        work.traceparent = (_chunk(context, work).header if context is not None else job.traceparent).encode()

    def chunk_done(self, job: Job, work: ChunkWork | None) -> None:
        """Every row of a chunk has its result."""
        context = self.context_of(job) if work is not None else None
        if work is None or context is None or work.given_at is None:
            return
        facts: dict[str, Attribute] = {
            "tenant": job.tenant,
            "chunk": work.lease.chunk_no,
            "rows": work.lease.row_count,
            "adapter": work.adapter,
            "server": work.server_id,
        }
        self._tell("chunk", _chunk(context, work), work.given_at, facts)

    def row_answered(self, work: ChunkWork, row: int, seconds: float) -> None:
        """A row was answered, of those whose times are looked at; its chunk's requests carry the context."""
        now = self._clock.monotonic()
        if not self._tracer.ratio or now - self._row_told < ROWS_EVERY_S:
            return
        chunk = TraceContext.read(work.traceparent.decode())
        if chunk is not None and chunk.sampled:
            self._row_told = now
            line = work.chunk.lines[row]
            began = self._clock.now() - timedelta(seconds=seconds)
            self._tell("row", chunk.child("row", row), began, {"line": line, "server": work.server_id})

    def committed(self, job: Job, rows: int, seconds: float) -> None:
        """Results of a job were stored."""
        context = self.context_of(job)
        now = self._clock.monotonic()
        if context is None or now - self._commit_told.get(job.job_id, -COMMITS_EVERY_S) < COMMITS_EVERY_S:
            return
        if len(self._commit_told) >= REMEMBERED:
            self._commit_told.clear()
        self._commit_told[job.job_id] = now
        ended = self._clock.now()
        began = ended - timedelta(seconds=seconds)
        self._tell("commit", context.child("commit", ended.timestamp()), began, {"tenant": job.tenant, "rows": rows})

    async def ended(self, job: Job, finalising_since: datetime) -> None:
        """A job has ended: tell of all that its times and its dataset's say."""
        self._commit_told.pop(job.job_id, None)
        context = self.context_of(job)
        if context is None:
            return
        dataset = await self._dataset(job)
        queued = job.create_time
        if dataset is not None and dataset.finish_time is not None:
            facts: dict[str, Attribute] = {
                "tenant": job.tenant,
                "dataset_id": dataset.dataset_id,
                "rows": dataset.row_count,
            }
            self._tell("ingest", context.child("ingest"), dataset.create_time, facts, ended=dataset.finish_time)
            queued = max(queued, dataset.finish_time)
        if job.start_time is not None:
            start = max(queued, job.start_time)
            facts = {"tenant": job.tenant, "model": job.base_model_id}
            self._tell("plan", context.child("plan"), queued, facts, ended=start)
        facts = {"tenant": job.tenant, "rows": job.counts.total}
        self._tell("finalise", context.child("finalise"), finalising_since, facts)
        about: dict[str, Attribute] = {
            "job_id": job.job_id,
            "tenant": job.tenant,
            "model": job.base_model_id,
            "state": job.state,
            "rows": job.counts.total,
            "failed": job.counts.failed,
        }
        failed = job.state is JobState.FAILED
        self._tell("job", context, job.create_time, about, ended=job.end_time, failed=failed)

    async def _dataset(self, job: Job) -> Dataset | None:
        try:
            return await self._datasets.get_dataset(job.dataset_id)
        except NotFoundError:
            return None
        except DatabaseError as error:
            _log.warning("trace_incomplete", job_id=job.job_id, error=str(error))
            return None

    def _tell(
        self,
        name: str,
        context: TraceContext,
        began: datetime,
        attributes: dict[str, Attribute],
        *,
        ended: datetime | None = None,
        failed: bool = False,
    ) -> None:
        ended = ended or self._clock.now()
        self._tracer.record(
            Span(name=name, context=context, began=began, ended=ended, attributes=attributes, failed=failed)
        )


def _chunk(context: TraceContext, work: ChunkWork) -> TraceContext:
    return context.child("chunk", work.lease.chunk_no, work.lease.epoch)
