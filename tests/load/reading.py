"""Readers of results while a job runs: one who keeps up, some who read slowly, and some who stopped."""

import asyncio
import hashlib
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import uvloop
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import batch_inference_pb2_grpc
from lorax_batch_client import Client, Dataset, Job

from tests.load.stage import Stage, create_job, load_stage
from tests.load.watch_client import OPTIONS

SLOW_PAUSE_S = 0.5
Call = grpc.aio.UnaryStreamCall[pb.StreamResultsRequest, pb.StreamResultsResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingLoad:
    """A job paced by its servers, and how many read it badly."""

    servers: int = 4
    in_flight: int = 64
    """For each server."""
    delay_ms: int = 100
    rows: int = 25_000
    slow: int = 10
    stalled: int = 40
    rounds: int = 2


@dataclass(slots=True)
class Told:
    """What the readers of one job were sent."""

    complete: int = 0
    """Readers whose summary agreed with all rows that they got."""
    stuck: int = 0
    """Readers who stopped and had got less than all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingReport:
    """What readers did to their jobs."""

    readers: int
    rows: int
    alone_s: float
    """The job's time without readers; medians over the rounds."""
    read_s: float
    """With all of them."""
    times_longer: float
    complete: int
    """Readers, over all rounds, who got every row."""
    stuck: int
    """Readers who had stopped with most of the rows still to come when the job ended."""
    service_mib: float
    grown_mib: float
    """The largest memory with readers - that without."""


def measure(load: ReadingLoad) -> ReadingReport:
    """Run jobs in turns without and with readers."""
    stage_of = load_stage(servers=load.servers, in_flight=load.in_flight, delay_ms=load.delay_ms)
    with stage_of as stage, stage.client() as client:
        dataset = stage.dataset(client, load.rows)
        alone, read, ratios, told = [], [], [], Told()
        with stage.memory() as before:
            alone.append(_run(client, dataset))
        with stage.memory() as peak:
            for number in range(load.rounds):
                if number:
                    alone.append(_run(client, dataset))
                read.append(_run_read(stage, client, dataset, load, told))
                ratios.append(read[-1] / alone[-1])
    return ReadingReport(
        readers=1 + load.slow + load.stalled,
        rows=load.rows,
        alone_s=statistics.median(alone),
        read_s=statistics.median(read),
        times_longer=statistics.median(ratios),
        complete=told.complete,
        stuck=told.stuck,
        service_mib=peak.service_mib,
        grown_mib=peak.service_mib - before.service_mib,
    )


def _run(client: Client, dataset: Dataset) -> float:
    return _seconds(client.wait(create_job(client, dataset)))


def _seconds(job: Job) -> float:
    assert job.counts.succeeded == job.counts.total, job
    assert job.start_time is not None
    assert job.end_time is not None
    return (job.end_time - job.start_time).total_seconds()


def _run_read(stage: Stage, client: Client, dataset: Dataset, load: ReadingLoad, told: Told) -> float:
    """Run a job with all its readers; return its time when each has read to the end."""
    job_id = create_job(client, dataset).job_id
    ended = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        readers = thread.submit(uvloop.run, _read(stage.service.target, job_id, load, told, ended))
        try:
            job = client.wait(job_id)
        finally:
            ended.set()
        readers.result()
    return _seconds(job)


async def _read(target: str, job_id: str, load: ReadingLoad, told: Told, ended: threading.Event) -> None:
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(1 + load.slow + load.stalled):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(target, OPTIONS))
            readers.append(Reader(batch_inference_pb2_grpc.BatchInferenceStub(channel), job_id))
        eager, slow, stalled = readers[0], readers[1 : 1 + load.slow], readers[1 + load.slow :]
        async with asyncio.TaskGroup() as group:
            group.create_task(eager.read_all())
            reading = [group.create_task(reader.read_until(ended, SLOW_PAUSE_S)) for reader in slow]
            reading += [group.create_task(reader.read_once_and_wait(ended)) for reader in stalled]
            await asyncio.wait(reading)
            told.stuck += sum(reader.rows < load.rows // 2 for reader in stalled)
            for reader in slow + stalled:
                group.create_task(reader.read_all())
    told.complete += sum(reader.complete and reader.rows == load.rows for reader in readers)


class Reader:
    """One caller of StreamResults who follows a job."""

    def __init__(self, stub: "batch_inference_pb2_grpc.BatchInferenceAsyncStub", job_id: str) -> None:
        self._call: Call = stub.StreamResults(pb.StreamResultsRequest(job_id=job_id, follow=True))
        self._hash = hashlib.sha256()
        self.rows = 0
        self.complete = False
        """Whether the summary has come, and agrees with what was read."""

    async def read_all(self) -> None:
        """Read to the end."""
        while not self.complete:
            await self._read()

    async def read_until(self, ended: threading.Event, pause_s: float) -> None:
        """Read a message, pause, and so on until the job has ended."""
        while not ended.is_set() and not self.complete:
            await self._read()
            await asyncio.sleep(pause_s)

    async def read_once_and_wait(self, ended: threading.Event) -> None:
        """Read one message, and no more before the job has ended."""
        await self._read()
        await asyncio.to_thread(ended.wait)

    async def _read(self) -> None:
        message = await self._call.read()
        assert isinstance(message, pb.StreamResultsResponse), f"the stream ended: {await self._call.code()}"
        if message.HasField("rows"):
            rows = message.rows
            assert rows.first_offset == self.rows, "a gap or a repeat"
            self._hash.update(rows.lines)
            self.rows += rows.row_count
            return
        self.complete = message.summary.sha256 == self._hash.hexdigest()
        assert self.complete, "the summary tells other rows than those that came"
