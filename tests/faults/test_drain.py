"""A process that is asked to end: it ends in time, loses nothing, repeats nothing, and its callers go on elsewhere."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import batch_inference_pb2_grpc
from lorax_batch_client import JobState

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import key_of, make_rows
from tests.faults.replicas import (
    LONG_LEASE_S,
    Replicas,
    at_the_same_time,
    client_of,
    follow_results,
    log_lines,
    watch_to_the_end,
)
from tests.faults.replicas import replicas as replicas
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(120)

SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "16")
GRACE_S = 1.0
END_S = 30.0
"""What ending takes besides the grace, on a busy machine."""


@pytest.mark.parametrize(("grace_s", "signals"), [(GRACE_S, 1), (600.0, 2)])
def test_rows_that_take_longer_than_the_grace_are_handed_back(
    replicas: Replicas, tmp_path: Path, grace_s: float, signals: int
) -> None:
    """After the grace, or a second SIGTERM, a process ends with its answers stored and its leases given back."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        one.ask("faults", {"on": ["hang"]})
        rows = make_rows("drain", 300)
        rows[5:9] = make_rows("drain", 9, words="fault:hang")[5:9]
        hung = [key_of("drain", number) for number in range(5, 9)]
        other = replicas.prepare("all", two.url, lease_s=LONG_LEASE_S)
        leaving = replicas.start("all", one.url, lease_s=LONG_LEASE_S, shutdown_grace_s=grace_s)
        with leaving.client() as client:
            job_id = submit(client, rows).job_id
            JobStory(client, job_id).until(lambda job: job.counts.ended == 296 and job.counts.in_flight == 4)
        replicas.let_go(other)
        with other.client() as client:
            story = JobStory(client, job_id)
            story.until(lambda job: job.counts.ended == 296)
            leaving.terminate()
            if signals == 2:
                poll_until(lambda: log_lines(leaving), lambda lines: lines[-1]["event"] == "stopping")
                leaving.terminate()
            began = time.monotonic()
            assert leaving.wait_ended() == 0
            assert time.monotonic() - began < GRACE_S + END_S
            job = story.finish()
            assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, 300)
            check_all_rows(download_files(client, job, tmp_path), rows)
        assert sum(simulator.ask("stats")["rows_received"] for simulator in (one, two)) == 300 + 4
        answered = two.ask("requests")["answered"]
        assert {key: answered[key] for key in hung} == dict.fromkeys(hung, 1)


def test_a_rolling_restart_of_everything_repeats_no_call(replicas: Replicas, tmp_path: Path) -> None:
    """Two processes, API and scheduler each, are replaced under load: every call is made once, every caller served."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        settings: dict[str, Any] = {"lease_s": LONG_LEASE_S, "shutdown_grace_s": 20.0}
        old = [replicas.make("all", each.url, **settings) for each in (one, two)]
        new = [replicas.prepare("all", each.url, **settings) for each in (one, two)]
        for service in old:
            # The second part of the large upload: it is in the middle when the first process has to go.
            service.begin(f"upload.after_part=hold:{tmp_path / 'never'}@2" if service is old[0] else "")
        for service in old:
            service.wait_ready()
        for service in new:
            poll_until(service.fired, lambda names: names == ["start.before_database"], timeout_s=60)
        rows, large = make_rows("rolling", 5_000, adapters=("", "org/a")), make_rows("large", 40, words="x" * 500_000)
        with client_of(*old, *new) as client, at_the_same_time() as begin:
            job_id = submit(client, rows).job_id
            watched, read = begin(watch_to_the_end, client, job_id), begin(follow_results, client, job_id)
            uploaded = begin(client.upload_dataset, large)
            poll_until(old[0].fired, lambda names: names == ["upload.after_part"])
            for leaving, coming in zip(old, new, strict=True):
                replicas.let_go(coming)
                assert leaving.stop() == 0
                assert not watched.done(), "the job had ended before the last one was replaced"
            job = watched.result()
            assert job.state is JobState.SUCCEEDED
            assert {row.custom_id for row in read.result()} == {row["custom_id"] for row in rows}
            assert client.wait_for_dataset(uploaded.result()).row_count == len(large)
            check_all_rows(download_files(client, job, tmp_path), rows)
        answered: Counter[str] = Counter()
        for simulator in (one, two):
            # While two schedulers share a server it may refuse rows; a call that was cut off would be status 0.
            assert simulator.ask("stats")["rows_by_status"].keys() <= {"200", "429"}
            answered += Counter(simulator.ask("requests")["answered"])
        assert answered == dict.fromkeys((key_of("rolling", number) for number in range(len(rows))), 1)


def test_readiness_goes_first_and_streams_end_with_where_to_go_on(replicas: Replicas, tmp_path: Path) -> None:
    """While readiness is gone calls are still answered; then watches end with UNAVAILABLE and a time to come back."""
    released = tmp_path / "released"
    service = replicas.start("all", failpoints=f"drain.before_streams_end=hold:{released}")
    with service.client() as client, grpc.insecure_channel(service.target) as channel:
        job_id = submit(client, make_rows("waiting", 5)).job_id
        health = health_pb2_grpc.HealthStub(channel)
        told = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(told).status == health_pb2.HealthCheckResponse.SERVING
        watch = batch_inference_pb2_grpc.BatchInferenceStub(channel).WatchJobs(pb.WatchJobsRequest(job_ids=[job_id]))
        next(watch)
        service.terminate()
        assert next(told).status == health_pb2.HealthCheckResponse.NOT_SERVING
        poll_until(service.fired, lambda names: names == ["drain.before_streams_end"])
        assert client.get_job(job_id).state is JobState.QUEUED
        assert watch.is_active()
        released.touch()
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        check_shutting_down(ended.value)
        told.cancel()
        assert service.wait_ended() == 0


def check_shutting_down(error: grpc.RpcError) -> None:
    """Check that a client can tell a shutdown from a failure, and knows when to come back."""
    status = rpc_status.from_call(error)
    assert status is not None
    assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    found = [detail.Unpack(info) or detail.Unpack(retry) for detail in status.details]
    assert all(found)
    assert info.reason == "SHUTTING_DOWN"
    assert retry.retry_delay.seconds == 1


@pytest.mark.parametrize("embedded", [True, False])
def test_a_start_that_is_asked_to_stop_is_given_up(
    replicas: Replicas, postgres_directory: Path, tmp_path: Path, embedded: bool
) -> None:
    """SIGTERM in the middle of a start ends the process cleanly, with its own PostgreSQL if it has one."""
    point = f"start.before_database=hold:{tmp_path / 'never'}"
    directory = postgres_directory / tmp_path.name
    directory.mkdir(mode=0o755)
    service = Service(directory) if embedded else replicas.make("all")
    try:
        service.begin(point)
        poll_until(service.fired, lambda names: names == ["start.before_database"], timeout_s=60)
        postgres = service.postgres_pid() if embedded else None
        service.terminate()
        assert service.wait_ended() == 0
        assert "start_given_up" in service.log.read_text()
        assert postgres is None or not Path(f"/proc/{postgres}").exists()
    finally:
        service.close()


@pytest.mark.parametrize("point", ["ingest.before_finish", "finalise.before_finish"])
def test_what_a_leaving_process_is_in_the_middle_of_is_gone_on_with_at_once(
    replicas: Replicas, tmp_path: Path, point: str
) -> None:
    """SIGTERM within ingest or finalising ends the process, and another one does that work without awaiting a lease."""
    with Simulator(*SLOW) as simulator:
        other = replicas.prepare("all", simulator.url, lease_s=LONG_LEASE_S)
        held = f"{point}=hold:{tmp_path / 'never'}"
        leaving = replicas.start("all", simulator.url, failpoints=held, lease_s=LONG_LEASE_S, shutdown_grace_s=60.0)
        rows = make_rows("middle", 50)
        with client_of(leaving, other) as client:
            story = JobStory(client, client.create_job(client.upload_dataset(rows), base_model=MODEL))
            story.until(lambda job: not job.is_terminal)
            poll_until(leaving.fired, lambda names: names == [point])
            replicas.let_go(other)
            leaving.terminate()
            assert leaving.wait_ended() == 0
            job = story.finish()
            assert job.state is JobState.SUCCEEDED
            check_all_rows(download_files(client, job, tmp_path), rows)
        assert simulator.ask("stats")["rows_received"] == len(rows)
        assert len(replicas.logged("dataset_ready")) == 1
        poll_until(lambda: len(replicas.logged("job_ended")), lambda count: count == 1)
