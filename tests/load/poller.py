"""A process that polls: so many callers, each asking again as soon as it has its answer.

`python -m tests.load.poller TARGET CALLERS METHOD JOB_ID...` says `ready`, polls until its standard input ends, and
prints what it has counted as JSON. The method is `GetJob`, `ListJobs` or `Both` in turns.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import uvloop
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import batch_inference_pb2_grpc

CALL_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Polls:
    """What the callers of a process have seen."""

    calls: int = 0
    waits_s: list[float] = field(default_factory=list)
    backwards: int = 0
    """Answers with fewer ended rows than one that had come before the call was made."""
    ended: dict[str, int] = field(default_factory=dict)
    """Ended rows by job, as answered last."""


async def poll(
    stub: "batch_inference_pb2_grpc.BatchInferenceAsyncStub",
    method: str,
    job_ids: list[str],
    polls: Polls,
    over: asyncio.Event,
) -> None:
    """Ask again and again until it is over."""
    number = 0
    while not over.is_set():
        job_id = job_ids[number % len(job_ids)]
        number += 1
        before, began = dict(polls.ended), time.perf_counter()
        if method == "GetJob" or (method == "Both" and number % 2):
            answer = await stub.GetJob(pb.GetJobRequest(job_id=job_id), timeout=CALL_TIMEOUT_S)
            jobs = [answer.job]
        else:
            jobs = list((await stub.ListJobs(pb.ListJobsRequest(page_size=10), timeout=CALL_TIMEOUT_S)).jobs)
        polls.calls += 1
        polls.waits_s.append(time.perf_counter() - began)
        for job in jobs:
            ended = job.counts.succeeded + job.counts.failed
            polls.backwards += ended < before.get(job.job_id, 0)
            polls.ended[job.job_id] = max(ended, polls.ended.get(job.job_id, 0))


async def main(target: str, callers: int, method: str, job_ids: list[str]) -> None:
    """Poll until standard input ends."""
    loop, over, polls = asyncio.get_running_loop(), asyncio.Event(), Polls()
    loop.add_reader(sys.stdin, over.set)
    async with grpc.aio.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = batch_inference_pb2_grpc.BatchInferenceStub(channel)
        await channel.channel_ready()
        print("ready", flush=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(poll(stub, method, job_ids, polls, over))
    waits = sorted(polls.waits_s) or [0.0]
    percentiles = {name: waits[int(len(waits) * share)] * 1e3 for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    print(json.dumps({"calls": polls.calls, "backwards": polls.backwards, **percentiles}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
