"""Many watchers in one process, each of which keeps what it was told.

`python -m tests.load.watch_client TARGET WATCHERS LABEL JOBS` opens watches of all jobs with that label, says `ready`
when each has its snapshot, reads until each was told the end of so many jobs, and prints what they saw as JSON.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import uvloop
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import batch_inference_pb2_grpc, job_pb2

STREAMS_OF_A_CHANNEL = 100
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels share one connection
    # Small fixed windows: who does not read holds the service up after a few messages instead of after megabytes.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 8_192),
]
ENDS = frozenset(
    {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED, job_pb2.JOB_STATE_EXPIRED}
)
LABEL = "load"

Call = grpc.aio.UnaryStreamCall[pb.WatchJobsRequest, pb.WatchJobsResponse]


@dataclass(slots=True)
class Seen:
    """What one watch has told."""

    sequences: list[int] = field(default_factory=list)
    """Of its state changes."""
    delays_s: list[float] = field(default_factory=list)
    """From each state change's transaction to its arrival here, by the one clock of the machine."""
    messages: int = 0
    ended: int = 0

    def take(self, message: pb.WatchJobsResponse) -> None:
        """Note a message."""
        self.messages += 1
        if message.WhichOneof("event") == "state_change":
            change = message.state_change
            self.sequences.append(message.sequence)
            self.delays_s.append(time.time() - change.time.seconds - change.time.nanos * 1e-9)
            self.ended += change.to_state in ENDS


class Watch:
    """One watch of all jobs with a label."""

    def __init__(self, stub: "batch_inference_pb2_grpc.BatchInferenceAsyncStub", label: str) -> None:
        request = pb.WatchJobsRequest(filter=pb.JobFilter(labels={LABEL: label}))
        self.call: Call = stub.WatchJobs(request)
        self.seen = Seen()

    async def open(self) -> None:
        """Read the snapshot, which ends in a heartbeat."""
        while (await self._read()).WhichOneof("event") != "heartbeat":
            pass

    async def follow(self, jobs: int, pause_s: float = 0.0) -> Seen:
        """Read until so many jobs have ended, pausing before each message."""
        while self.seen.ended < jobs:
            if pause_s:
                await asyncio.sleep(pause_s)
            self.seen.take(await self._read())
        self.call.cancel()
        return self.seen

    async def _read(self) -> pb.WatchJobsResponse:
        message = await self.call.read()
        assert isinstance(message, pb.WatchJobsResponse), f"the watch ended: {await self.call.code()}"
        return message


async def open_watches(stack: AsyncExitStack, target: str, count: int, label: str) -> list[Watch]:
    """Open so many watches, a hundred on a connection."""
    watches: list[Watch] = []
    for start in range(0, count, STREAMS_OF_A_CHANNEL):
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(target, OPTIONS))
        stub = batch_inference_pb2_grpc.BatchInferenceStub(channel)
        some = [Watch(stub, label) for _ in range(min(STREAMS_OF_A_CHANNEL, count - start))]
        async with asyncio.TaskGroup() as group:
            for watch in some:
                group.create_task(watch.open())
        watches += some
    return watches


async def main(target: str, count: int, label: str, jobs: int) -> dict[str, Any]:
    """Watch until the jobs have ended."""
    async with AsyncExitStack() as stack:
        watches = await open_watches(stack, target, count, label)
        print("ready", flush=True)
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.follow(jobs))
    kinds = sorted({tuple(watch.seen.sequences) for watch in watches})
    delays = sorted(delay for watch in watches for delay in watch.seen.delays_s)
    return {
        "watchers": len(watches),
        "messages": sum(watch.seen.messages for watch in watches),
        "sequences": kinds,
        "delays_s": delays[:: max(1, len(delays) // 1_000)],
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))), flush=True)
