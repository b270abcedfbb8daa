"""A watch of all jobs of one service, held open for the whole run, on the bare contract: the client hides repeats."""

import asyncio
from typing import Final

import grpc
from grpc import aio
from lorax_batch.v1 import batch_inference_pb2_grpc
from lorax_batch.v1.batch_inference_pb2 import WatchJobsRequest
from lorax_batch_client import JobDeleted
from lorax_batch_client.event import event_from_proto

from tests.faults.chaos.event_check import EventCheck
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.pulse import Pulse

RETRY_S: Final = 0.05
EXPECTED: Final = frozenset(
    # What a service that dies, stops, or has lost its database may say.
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
)


class Feed:
    """Watches until cancelled, from the last sequence on after each break."""

    def __init__(self, target: str, name: str, pulse: Pulse, findings: Findings) -> None:
        self._target = target
        self._name = name
        self._pulse = pulse
        self._findings = findings
        self.check = EventCheck(name, findings, complete=True)
        self.connections = 0

    async def run(self) -> None:
        """Watch."""
        while True:
            try:
                # A channel of its own each time: gRPC's pauses between two tries would count as recovery.
                async with aio.insecure_channel(self._target) as channel:
                    await self._read(batch_inference_pb2_grpc.BatchInferenceStub(channel))
                self._findings.add(f"watch {self._name} ended by itself")
            except aio.AioRpcError as error:
                if error.code() not in EXPECTED:
                    self._findings.add(f"watch {self._name} broke with {error.code().name}: {error.details()}")
            await asyncio.sleep(RETRY_S)

    async def _read(self, stub: "batch_inference_pb2_grpc.BatchInferenceAsyncStub") -> None:
        request = WatchJobsRequest()
        if self.check.following:
            request.after_sequence = self.check.sequence
        is_first = True
        async for message in stub.WatchJobs(request):
            self.connections += is_first
            is_first = False
            event = event_from_proto(message)
            if event is None:
                self.check.take_heartbeat(message.sequence)
                continue
            self.check.take(event)
            if not isinstance(event, JobDeleted):
                self._pulse.note(event.job)
