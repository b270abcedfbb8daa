"""Many watchers of one service, some of whom read slowly or not at all, while jobs come and go."""

import asyncio
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import uvloop
from lorax_batch_client import Client, Job

from bench.service import BASE_MODEL
from tests.load.stage import Stage, load_stage
from tests.load.watch_client import LABEL, open_watches

RUN = "watched"
SLOW_PAUSE_S = 0.02
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLoad:
    """Who watches, and what there is to see."""

    readers: int = 1_900
    processes: int = 2
    slow: int = 50
    """They pause before each message."""
    stalled: int = 50
    """They stop reading after their snapshot, and go on when all jobs have ended."""
    jobs: int = 40
    rows: int = 200
    jobs_per_second: float = math.inf
    """How fast they are created; infinite: all at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchReport:
    """What was told to whom, and when."""

    watchers: int
    state_changes: int
    incomplete: int
    """Watchers who were not told exactly every state change once and in order."""
    messages: int
    """Including progress; of those who read as they can."""
    seconds: float
    """From the first job's creation until all of them knew of the last job's end."""
    p50_ms: float
    """From a state change's transaction to its arrival; of those who read as they can."""
    p99_ms: float
    open_mib: float
    """What the service holds for its open watches while nothing happens."""
    grown_mib: float
    """By how much the service grew while jobs ran and some did not read."""
    service_mib: float
    postgres_mib: float


def measure(load: WatchLoad) -> WatchReport:
    """Let everybody watch the same jobs."""
    with load_stage(delay_ms=20) as stage, stage.client() as client:
        return uvloop.run(_measure(stage, client, load))


async def _measure(stage: Stage, client: Client, load: WatchLoad) -> WatchReport:
    dataset = stage.dataset(client, load.rows)
    before = client.wait(_create(client, dataset.dataset_id, "warm up")).sequence
    with stage.memory() as closed:
        pass
    async with AsyncExitStack() as stack:
        slow = await open_watches(stack, stage.service.target, load.slow, RUN)
        stalled = await open_watches(stack, stage.service.target, load.stalled, RUN)
        readers = stack.enter_context(_readers(stage, load))
        with stage.memory() as opened:
            pass
        with stage.memory() as peak:
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                slowly = [group.create_task(watch.follow(load.jobs, SLOW_PAUSE_S)) for watch in slow]
                running = group.create_task(asyncio.to_thread(_run_jobs, client, dataset.dataset_id, load, readers))
            seconds = time.monotonic() - began
        async with asyncio.TaskGroup() as group:
            late = [group.create_task(watch.follow(load.jobs)) for watch in stalled]
    last = max(job.sequence for job in client.list_jobs())
    # Nothing else has happened meanwhile: sequences are dense, so all between are theirs.
    expected = list(range(before + 1, last + 1))
    told = running.result()
    delays = sorted(delay for each in told for delay in each["delays_s"]) or [0.0]
    others = [task.result().sequences for task in [*slowly, *late]]
    return WatchReport(
        watchers=len(others) + sum(each["watchers"] for each in told),
        state_changes=len(expected),
        incomplete=sum(sequences != expected for sequences in others)
        + sum(each["watchers"] for each in told if each["sequences"] != [expected]),
        messages=sum(each["messages"] for each in told),
        seconds=seconds,
        p50_ms=delays[len(delays) // 2] * 1e3,
        p99_ms=delays[int(len(delays) * 0.99)] * 1e3,
        open_mib=opened.service_mib - closed.service_mib,
        grown_mib=peak.service_mib - opened.service_mib,
        service_mib=peak.service_mib,
        postgres_mib=peak.postgres_mib,
    )


def _create(client: Client, dataset_id: str, label: str) -> Job:
    return client.create_job(dataset_id, base_model=BASE_MODEL, labels={LABEL: label})


def _run_jobs(
    client: Client, dataset_id: str, load: WatchLoad, readers: list[subprocess.Popen[str]]
) -> list[dict[str, Any]]:
    """Create the jobs and return what each process of readers saw."""
    began = time.monotonic()
    for number in range(load.jobs):
        time.sleep(max(0.0, began + number / load.jobs_per_second - time.monotonic()))
        _create(client, dataset_id, RUN)
    return [json.loads(reader.communicate(timeout=TIMEOUT_S)[0]) for reader in readers]


@contextmanager
def _readers(stage: Stage, load: WatchLoad) -> Iterator[list[subprocess.Popen[str]]]:
    """Yield processes whose watchers all have their snapshot."""
    with ExitStack() as stack:
        readers = []
        for _ in range(load.processes):
            command = [sys.executable, "-m", "tests.load.watch_client", stage.service.target]
            command += [str(load.readers // load.processes), RUN, str(load.jobs)]
            reader = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(reader.kill)  # harmless when it has ended
            readers.append(reader)
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        yield readers
