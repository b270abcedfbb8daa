"""A job under way on a real service, to which a fault happens: how long it stands still, and that nothing is lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lorax_batch.v1 import batch_inference_pb2, batch_inference_pb2_grpc
from lorax_batch_client import Client, Job, JobState

from tests.end_to_end.job_story import submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import ResultFiles, check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

SLOW: Final = ("--time-scale", "0.1", "--max-concurrent-requests", "32")
"""Some 700 rows a second."""
QUICKLY_S: Final = 3.0
"""How long a call may take that can only fail."""


class RunningJob:
    """A job with rows in flight, its watch checked all along."""

    def __init__(self, service: Service, client: Client, simulator: Simulator, tag: str, count: int) -> None:
        self.rows = make_rows(tag, count, adapters=("", "org/a"))
        self._service = service
        self._client = client
        self._simulator = simulator
        # Before the job is there: its first rows arrive within milliseconds.
        self._received_before = self.received()
        self.story = submit(client, self.rows)
        self.story.until_ended_rows(1)

    @property
    def job_id(self) -> str:
        return self.story.job_id

    def received(self) -> int:
        """Return how many rows the simulator was asked for, over all jobs."""
        return int(self._simulator.ask("stats")["rows_received"])

    def go_on(self, name: str, *, within_s: float) -> float:
        """Return the seconds from now until further rows are committed."""
        begin = time.monotonic()
        before = self.story.check.job
        assert before is not None
        assert not before.is_terminal, "the fault came too late"
        in_flight = 2 * 32  # what was answered, but not committed, when the fault came
        self.story.until(lambda job: job.counts.ended > before.counts.ended + in_flight or job.is_terminal)
        seconds = time.monotonic() - begin
        print(f"{name}: went on after {seconds:.2f} s")
        assert seconds < within_s
        return seconds

    def finish(self, folder: Path, *, repeated: int = 0) -> tuple[Job, ResultFiles]:
        """Check that each row has one result, that none failed, and that few were asked for again."""
        job = self.story.finish()
        assert job.state is JobState.SUCCEEDED, job
        assert job.counts.succeeded == len(self.rows)
        files = download_files(self._client, job, folder)
        check_all_rows(files, self.rows)
        received = self.received() - self._received_before
        assert len(self.rows) <= received <= len(self.rows) + repeated, f"{received} calls for {len(self.rows)} rows"
        return job, files


@contextmanager
def started_job(service: Service, simulator: Simulator, tag: str, count: int = 1_000) -> Iterator[RunningJob]:
    """Yield a job of which some rows are done and most are not."""
    with service.client() as client:
        yield RunningJob(service, client, simulator, tag, count)


def is_serving(service: Service) -> bool:
    """Return what health says."""
    with grpc.insecure_channel(service.target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=QUICKLY_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def wait_noticed(service: Service, name: str, *, within_s: float) -> None:
    """Return when health tells of the fault."""
    begin = time.monotonic()
    poll_until(lambda: is_serving(service), lambda serving: not serving, timeout_s=within_s)
    print(f"{name}: noticed after {time.monotonic() - begin:.2f} s")


def check_calls_fail_quickly(service: Service, text: str) -> None:
    """Check that calls answer UNAVAILABLE, with what is wrong and when to try again, instead of waiting."""
    with grpc.insecure_channel(service.target) as channel:
        stub = batch_inference_pb2_grpc.BatchInferenceStub(channel)
        begin = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListJobs(batch_inference_pb2.ListJobsRequest(), timeout=60)
        seconds = time.monotonic() - begin
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    assert text in error.details()
    trailers = dict(error.trailing_metadata())
    assert b"google.rpc.RetryInfo" in trailers["grpc-status-details-bin"]
    assert seconds < QUICKLY_S
