"""What a tracer is told of a job, and how little of what comes often."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import Dataset, DatasetState, OnInvalid
from lorax_batch_scheduler.errors import DatabaseError, NotFoundError
from lorax_batch_scheduler.job import Counts, Job, JobState
from lorax_batch_scheduler.ports import DatasetStore
from lorax_batch_scheduler.scheduling.job_traces import COMMITS_EVERY_S, ROWS_EVERY_S, JobTraces
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.telemetry.trace_context import TraceContext
from lorax_batch_scheduler.telemetry.tracing import NoTracer, Tracer

from tests.kept_spans import KeptSpans
from tests.rows import make_work

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
CALLER = f"00-{'1' * 32}-{'2' * 16}-01"


class Time(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return CREATED + timedelta(seconds=self.seconds)


class Datasets:
    """One dataset, or the error that stands for it."""

    def __init__(self, answer: Dataset | Exception) -> None:
        self._answer = answer

    async def get_dataset(self, reference: str) -> Dataset:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


DATASET = Dataset(
    dataset_id="d", name="", state=DatasetState.READY, on_invalid=OnInvalid.FAIL, row_count=9,
    create_time=CREATED - timedelta(seconds=20), update_time=CREATED, finish_time=CREATED + timedelta(seconds=5),
)  # fmt: skip


def job(traceparent: str = CALLER, **fields: Any) -> Job:
    given = {"job_id": "job_1", "state": JobState.SUCCEEDED, "counts": Counts(total=9, succeeded=9), **fields}
    return Job(
        dataset_id="d", server_config=ServerConfig(base_model="m"), base_model_id="m", create_time=CREATED,
        update_time=CREATED, traceparent=traceparent, **given,
    )  # fmt: skip


def traces(tracer: Tracer, answer: Dataset | Exception = DATASET, clock: Time | None = None) -> JobTraces:
    return JobTraces(tracer, cast("DatasetStore", Datasets(answer)), clock or Time())


async def test_an_ended_job_is_told_in_the_order_of_its_life() -> None:
    tracer = KeptSpans()
    started, ended = CREATED + timedelta(seconds=8), CREATED + timedelta(seconds=90)
    await traces(tracer).ended(job(start_time=started, end_time=ended), CREATED + timedelta(seconds=80))
    spans = {span.name: (span.began - CREATED, span.ended - CREATED) for span in tracer.spans}
    seconds = {name: (began.total_seconds(), end.total_seconds()) for name, (began, end) in spans.items()}
    assert seconds == {"ingest": (-20, 5), "plan": (5, 8), "finalise": (80, 100), "job": (0, 90)}
    assert tracer.spans[-1].context.parent_id == "2" * 16


@pytest.mark.parametrize("trouble", [NotFoundError("dataset", "d"), DatabaseError("away")])
async def test_a_dataset_that_cannot_be_read_costs_one_span(trouble: Exception) -> None:
    tracer = KeptSpans()
    await traces(tracer, trouble).ended(job(), CREATED)
    assert tracer.names == ["finalise", "job"]


async def test_a_failed_job_is_told_so() -> None:
    tracer = KeptSpans()
    await traces(tracer).ended(job(state=JobState.FAILED), CREATED)
    assert [span.name for span in tracer.spans if span.failed] == ["job"]


def test_commits_are_told_seldom() -> None:
    tracer, clock = KeptSpans(), Time()
    told = traces(tracer, clock=clock)
    for _ in range(100):
        told.committed(job(), 10, 0.01)
        clock.seconds += 0.25
    assert len(tracer.spans) == 25 / COMMITS_EVERY_S + 0.5
    assert len({span.context.span_id for span in tracer.spans}) == len(tracer.spans)


def test_rows_are_told_seldom_and_inside_their_chunk() -> None:
    tracer, clock = KeptSpans(), Time()
    told = traces(tracer, clock=clock)
    work = make_work(count=40)
    told.chunk_given(job(), work)
    for row in range(40):
        told.row_answered(work, row, 0.5)
        clock.seconds += 0.1
    assert len(tracer.spans) == pytest.approx(4.0 / ROWS_EVERY_S, abs=1)
    chunk = TraceContext.read(work.traceparent.decode())
    assert chunk is not None
    assert {span.context.parent_id for span in tracer.spans} == {chunk.span_id}


def test_a_chunk_is_told_when_it_is_done() -> None:
    tracer = KeptSpans()
    told = traces(tracer)
    work = make_work()
    told.chunk_given(job(), work)
    told.chunk_done(job(), work)
    told.chunk_done(job(), None)
    (span,) = tracer.spans
    assert span.context.header == work.traceparent.decode()


def test_where_nothing_is_traced_the_callers_trace_is_passed_on_as_it_is() -> None:
    told = traces(NoTracer())
    work, other = make_work(), make_work()
    told.chunk_given(job(), work)
    told.chunk_given(job(traceparent=""), other)
    assert (work.traceparent, other.traceparent) == (CALLER.encode(), b"")


def test_a_share_of_the_jobs_without_a_caller_is_traced() -> None:
    told = traces(KeptSpans(ratio=0.25))
    traced = sum(told.context_of(job("", job_id=f"job_{number}")) is not None for number in range(1_000))
    assert 200 < traced < 300
    assert told.context_of(job(CALLER)) is not None, "the caller has decided"
    assert told.context_of(job(CALLER[:-1] + "0")) is None
