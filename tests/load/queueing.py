"""Many jobs at once: how long it takes to accept, to plan and to end them, and whether all get on."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lorax_batch_client import Client, Job, JobState
from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.packing import AdapterRows, ServerView, Snapshot, WaitingJob, give

from tests.load.stage import Stage, create_job, load_stage

CALLERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """What became of jobs that were all created at once."""

    jobs: int
    succeeded: int
    rows: int
    rows_done: int
    accept_s: float
    """Until the last of them was accepted."""
    accept_p99_ms: float
    total_s: float
    """From the first creation to the last end."""
    longest_wait_s: float
    """From a job's creation to its first row."""
    turn_p50_s: float
    """From a job's first row to its end."""
    turn_max_s: float
    overtaken: int
    """The most jobs that ended before one which had been created earlier; all have the same priority."""
    service_mib: float
    grown_mib: float
    postgres_mib: float


def measure(jobs: int, rows: int) -> QueueReport:
    """Create jobs of so many rows at once and wait for their ends."""
    with load_stage(servers=4, in_flight=64, delay_ms=20) as stage, stage.client() as client:
        return _measure(stage, client, jobs, rows)


def _measure(stage: Stage, client: Client, jobs: int, rows: int) -> QueueReport:
    dataset = stage.dataset(client, rows)
    client.wait(create_job(client, dataset))
    with stage.memory() as before:
        pass

    def create(_: int) -> tuple[Job, float]:
        began = time.perf_counter()
        return create_job(client, dataset), time.perf_counter() - began

    with stage.memory() as peak:
        began = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as callers:
            created = list(callers.map(create, range(jobs)))
        accept_s = time.perf_counter() - began
        ended = [client.wait(job) for job, _ in created]
        total_s = time.perf_counter() - began
    spans = [(job.create_time, job.start_time, job.end_time) for job in ended]
    turns = [_seconds(end, start) for _, start, end in spans]
    return QueueReport(
        jobs=jobs,
        succeeded=sum(job.state is JobState.SUCCEEDED for job in ended),
        rows=jobs * rows,
        rows_done=sum(job.counts.succeeded for job in ended),
        accept_s=accept_s,
        accept_p99_ms=sorted(seconds for _, seconds in created)[int(jobs * 0.99)] * 1e3,
        total_s=total_s,
        longest_wait_s=max(_seconds(start, create) for create, start, _ in spans),
        turn_p50_s=statistics.median(turns),
        turn_max_s=max(turns),
        overtaken=_overtaken(ended),
        service_mib=peak.service_mib,
        grown_mib=peak.service_mib - before.service_mib,
        postgres_mib=peak.postgres_mib,
    )


def _seconds(later: datetime | None, earlier: datetime | None) -> float:
    assert later is not None
    assert earlier is not None
    return (later - earlier).total_seconds()


def _overtaken(jobs: list[Job]) -> int:
    by_age = sorted(jobs, key=lambda job: job.create_time or datetime.max.replace(tzinfo=UTC))
    return max(
        sum(_seconds(later.end_time, job.end_time) < 0 for later in by_age[place + 1 :])
        for place, job in enumerate(by_age)
    )


def plan_ms(jobs: int, servers: int = 16, adapters: int = 4) -> float:
    """Return the median time of a plan for so many jobs that all wait."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    snapshot = Snapshot(
        jobs=tuple(
            WaitingJob(
                job_id=f"job_{number}",
                base_model_id="base",
                priority=0,
                create_time=began + timedelta(seconds=number),
                rows=tuple(
                    AdapterRows(model=f"a{(number + nth) % 64}", adapter=f"a{nth}", chunk_count=10, row_count=10_000)
                    for nth in range(adapters)
                ),
            )
            for number in range(jobs)
        ),
        servers=tuple(
            ServerView(
                server_id=f"server_{number}",
                state=ServerState.READY,
                reason="",
                base_model_id="base",
                wanted_rows=2_000,
                load=0.0,
            )
            for number in range(servers)
        ),
    )
    times = []
    for _ in range(20):
        started = time.perf_counter()
        give(snapshot)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3
