"""Polling storms: rows per second with and without callers that ask for a job as often as they are let, in turns."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lorax_batch_client import Client, Job

from tests.load.memory import cpu_seconds
from tests.load.stage import Stage, create_job, load_stage

METHODS = ("GetJob", "ListJobs")
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingLoad:
    """Rows paced by servers, and who polls meanwhile."""

    servers: int = 4
    in_flight: int = 64
    """For each server."""
    delay_ms: int = 200
    window_s: float = 6.0
    rounds: int = 3
    processes: int = 2
    callers: int = 64
    """For each process."""


@dataclass(slots=True)
class Storm:
    """What the pollers of one window saw."""

    calls: int = 0
    backwards: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingReport:
    """What polling did to the rows."""

    method: str
    calls_per_second: float
    p50_ms: float
    p99_ms: float
    backwards: int
    quiet_rows_per_second: float
    stormy_rows_per_second: float
    row_rate_kept: float
    """The median over the rounds of the row rate in the storm / that right before it."""
    rounds: list[float]
    quiet_cpu: float
    """Cores that the service used."""
    stormy_cpu: float


def measure(method: str, load: PollingLoad) -> PollingReport:
    """Run one job and measure its row rate in turns without and with a storm."""
    with load_stage(servers=load.servers, in_flight=load.in_flight, delay_ms=load.delay_ms) as stage:
        rate = load.servers * load.in_flight * 1_000 / load.delay_ms
        rows = int(rate * (load.window_s + WARM_UP_S + 3) * 2 * load.rounds)
        with stage.client() as client:
            job = create_job(client, stage.dataset(client, rows))
            return _rounds(stage, client, job, method, load)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A few seconds of a running job."""

    rows_per_second: float
    cores: float
    """That the service used."""


def _rounds(stage: Stage, client: Client, job: Job, method: str, load: PollingLoad) -> PollingReport:
    quiet, stormy, storms = list[Window](), list[Window](), list[Storm]()
    while stage.answered() < load.servers * load.in_flight:
        time.sleep(0.05)
    for _ in range(load.rounds):
        quiet.append(_window(stage, load.window_s))
        with storm(stage, method, [job.job_id], load) as seen:
            stormy.append(_window(stage, load.window_s))
        storms.append(seen)
    counts = client.get_job(job).counts
    assert counts.ended < counts.total, "the rows were too few for the rounds"
    client.cancel_job(job)
    client.wait(job)
    kept = [after.rows_per_second / before.rows_per_second for before, after in zip(quiet, stormy, strict=True)]
    return PollingReport(
        method=method,
        calls_per_second=statistics.median(each.calls for each in storms) / (load.window_s + WARM_UP_S),
        p50_ms=statistics.median(each.p50_ms for each in storms),
        p99_ms=statistics.median(each.p99_ms for each in storms),
        backwards=sum(each.backwards for each in storms),
        quiet_rows_per_second=statistics.median(each.rows_per_second for each in quiet),
        stormy_rows_per_second=statistics.median(each.rows_per_second for each in stormy),
        row_rate_kept=statistics.median(kept),
        rounds=kept,
        quiet_cpu=statistics.median(each.cores for each in quiet),
        stormy_cpu=statistics.median(each.cores for each in stormy),
    )


def _window(stage: Stage, window_s: float) -> Window:
    """Return what is seen from a second from now on."""
    time.sleep(WARM_UP_S)
    cpu, began, before = cpu_seconds(stage.service.pid), time.perf_counter(), stage.answered()
    time.sleep(window_s)
    rows, seconds = stage.answered() - before, time.perf_counter() - began
    return Window(rows_per_second=rows / seconds, cores=(cpu_seconds(stage.service.pid) - cpu) / seconds)


@contextmanager
def storm(stage: Stage, method: str, job_ids: list[str], load: PollingLoad) -> Iterator[Storm]:
    """Poll for as long as the block lasts; what was seen is known behind it."""
    command = [sys.executable, "-m", "tests.load.poller", stage.service.target, str(load.callers), method, *job_ids]
    pollers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(load.processes)
    ]
    seen = Storm()
    try:
        for poller in pollers:
            assert poller.stdout is not None
            assert poller.stdout.readline() == "ready\n"
        yield seen
    finally:
        for poller in pollers:
            told = json.loads(poller.communicate(timeout=120)[0])
            seen.calls += told["calls"]
            seen.backwards += told["backwards"]
            seen.p50_ms, seen.p99_ms = max(seen.p50_ms, told["p50_ms"]), max(seen.p99_ms, told["p99_ms"])
