"""The API and schedulers as processes of their own: each may be killed, and the others go on."""

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lorax_batch_client import JobState
from lorax_batch_client.errors import NotOfferedError
from lorax_batch_client.fleet import Server, ServerState
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.replicas import (
    LEASE_S,
    Replicas,
    at_the_same_time,
    client_of,
    follow_results,
    log_lines,
    watch_to_the_end,
)
from tests.faults.replicas import replicas as replicas
from tests.postgres_fixtures import TEST_SETTINGS
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(120)

SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "16")
RECOVERY_S = LEASE_S + 25.0
"""How long a take-over may be noticed after the lease, on a busy machine."""
ROWS_A_COMMIT = 400
"""A generous bound for what these servers answer between two commits, on a busy machine."""


def test_an_api_shows_the_servers_of_every_scheduler_for_as_long_as_it_lives(replicas: Replicas) -> None:
    """Callers see the whole fleet from any process; a killed scheduler's servers are gone with its lease."""
    with Simulator() as mistral, Simulator("--model-id", "meta-llama/Llama-2-7b-hf") as llama:
        api = replicas.start("api")
        first, second = replicas.start("scheduler", mistral.url), replicas.start("scheduler", llama.url)
        with api.client() as client, second.client() as operator:
            both = poll_until(lambda: list(client.list_servers()), lambda servers: len(ready(servers)) == 2)
            assert {server.url for server in both} == {mistral.url, llama.url}
            assert {slot.url for slot in client.list_slots()} == {mistral.url, llama.url}
            assert [server.server_id for server in operator.list_servers()] == [server.server_id for server in both]
            with pytest.raises(NotOfferedError):
                operator.get_job("job_" + 24 * "0")
            waiting = submit(client, make_rows("nowhere", 10), base_model="llama-2-13b")
            # A scheduler looks at the servers of the others once a second: its first word may leave out a new one.
            waiting.until(lambda job: job.reason.endswith("(hosted: llama-2-7b, mistral-7b-instruct-v0-2)"))
            first.kill()
            killed_at = time.monotonic()
            poll_until(lambda: list(client.list_servers()), lambda servers: [s.url for s in servers] == [llama.url])
            assert time.monotonic() - killed_at < RECOVERY_S
        check_health(second)
        assert second.stop() == 0
        assert api.stop() == 0


def ready(servers: list[Server]) -> list[Server]:
    return [server for server in servers if server.state is ServerState.READY]


def check_health(scheduler: Service) -> None:
    """Check that its listener is healthy, and knows nothing of the services that its role does not offer."""
    with grpc.insecure_channel(scheduler.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "lorax_batch.v1.Fleet"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as told:
            health.Check(health_pb2.HealthCheckRequest(service="lorax_batch.v1.Datasets"), timeout=10)
        assert told.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_api_is_killed_under_a_watch_a_result_stream_and_an_upload(replicas: Replicas, tmp_path: Path) -> None:
    """Callers with two targets lose nothing when the API process they talk to is killed."""
    with Simulator(*SLOW) as simulator:
        replicas.start("scheduler", simulator.url)
        dying, other = replicas.make("api"), replicas.start("api")
        # The third part of an upload: the first two datasets have one part each.
        dying.start("upload.after_part=kill@3")
        rows = make_rows("streamed", 1_500)
        large = make_rows("large", 40, words="x" * 500_000)
        with client_of(dying, other) as client, at_the_same_time() as begin:
            job_id = submit(client, rows).job_id
            watched, read = begin(watch_to_the_end, client, job_id), begin(follow_results, client, job_id)
            JobStory(client, job_id).until_ended_rows(50)
            large_dataset = client.upload_dataset(large)
            dying.wait_killed()
            assert dying.fired() == ["upload.after_part"]
            assert not watched.done(), "the job had ended before the kill"
            job = watched.result()
            assert job.state is JobState.SUCCEEDED
            assert {row.custom_id for row in read.result()} == {row["custom_id"] for row in rows}
            assert len(read.result()) == len(rows)
            check_all_rows(download_files(client, job, tmp_path), rows)
            assert client.wait_for_dataset(large_dataset).row_count == len(large)
        assert simulator.ask("stats")["rows_received"] == len(rows), "the death of an API is nothing to schedulers"


def test_the_rows_of_a_killed_scheduler_go_on_at_the_other_within_its_lease(replicas: Replicas, tmp_path: Path) -> None:
    """A dead scheduler's chunks are run again by the other one at most 5 s after its lease has ended."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        api = replicas.start("api")
        schedulers = {simulator: replicas.start("scheduler", simulator.url) for simulator in (one, two)}
        rows = make_rows("orphaned", 900)  # one chunk: all of it is leased by one of them
        with api.client() as client:
            story = submit(client, rows)
            story.until_ended_rows(50)
            busy, idle = sorted(schedulers, key=lambda simulator: -simulator.ask("stats")["rows_received"])
            schedulers[busy].kill()
            killed_at = time.monotonic()
            stored = client.get_job(story.job_id).counts.ended
            assert stored < len(rows)
            assert idle.ask("stats")["rows_received"] == 0
            story.until(lambda job: job.counts.ended > stored)
            assert time.monotonic() - killed_at < RECOVERY_S
            job = story.finish()
            assert job.state is JobState.SUCCEEDED
            check_all_rows(download_files(client, job, tmp_path), rows)
            # In flight at the kill, or answered since the last commit, and no more.
            assert busy.ask("stats")["rows_received"] - stored <= 16 + ROWS_A_COMMIT
            assert idle.ask("stats")["rows_received"] == len(rows) - stored


def test_both_schedulers_are_killed_at_once_under_watchers(replicas: Replicas, tmp_path: Path) -> None:
    """While no scheduler lives, jobs stand still and callers are served; the next scheduler takes all of it over."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        api = replicas.start("api")
        both = [replicas.start("scheduler", simulator.url) for simulator in (one, two)]
        successor = replicas.prepare("scheduler", one.url)
        rows = make_rows("stranded", 2_500, adapters=("", "org/a"))
        with api.client() as client, at_the_same_time() as begin:
            job_id = submit(client, rows).job_id
            watched, read = begin(watch_to_the_end, client, job_id), begin(follow_results, client, job_id)
            for simulator in (one, two):
                poll_until(lambda s=simulator: s.ask("stats")["rows_answered"], lambda count: count > 50)  # type: ignore[misc]
            poll_until(lambda: client.get_job(job_id).counts.ended, bool)
            for scheduler in both:
                scheduler.kill()
            stored = client.get_job(job_id).counts.ended
            assert 0 < stored < len(rows)
            assert not watched.done()
            poll_until(lambda: list(client.list_servers()), lambda servers: servers == [])
            assert client.get_job(job_id).counts.ended == stored
            replicas.let_go(successor)
            assert watched.result().state is JobState.SUCCEEDED
            assert len(read.result()) == len(rows)
            check_all_rows(download_files(client, watched.result(), tmp_path), rows)


def test_one_scheduler_ingests_a_dataset_and_the_other_takes_over_when_it_dies(
    replicas: Replicas, tmp_path: Path
) -> None:
    """A dataset is ingested by one process, which may take its time, and by another one only after its death."""
    held = tmp_path / "never"
    second, api = replicas.prepare("scheduler"), replicas.make("api")
    api.begin()
    first = replicas.start("scheduler", failpoints=f"ingest.before_finish=hold:{held}")
    api.wait_ready()
    with api.client() as client:
        slow = client.upload_dataset(make_rows("slow", 50))
        poll_until(first.fired, lambda names: names == ["ingest.before_finish"])
        replicas.let_go(second)
        quick = client.wait_for_dataset(client.upload_dataset(make_rows("quick", 50)))
        assert ready_datasets(replicas) == [quick.dataset_id]
        assert {line["event"] for line in log_lines(second)} >= {"dataset_ready"}
        assert not client.get_dataset(slow).state.is_terminal
        first.kill()
        killed_at = time.monotonic()
        assert client.wait_for_dataset(slow).row_count == 50
        assert time.monotonic() - killed_at < RECOVERY_S
    assert ready_datasets(replicas) == [quick.dataset_id, slow.dataset_id]
    assert second.stop() == 0


def ready_datasets(replicas: Replicas) -> list[str]:
    return [line["dataset_id"] for line in replicas.logged("dataset_ready")]


def test_a_claim_outlives_a_restart_of_postgresql(postgres_directory: Path, tmp_path: Path) -> None:
    """While PostgreSQL is restarted nobody takes a dataset away from the process that ingests it."""
    server = EmbeddedPostgres(postgres_directory / "restarted", settings=TEST_SETTINGS)
    released = tmp_path / "released"
    with asyncio.Runner() as runner:
        replicas = Replicas(tmp_path, runner.run(server.start()))
        try:
            first = replicas.start("all", failpoints=f"ingest.before_finish=hold:{released}", lease_s=60.0)
            with first.client() as client:
                slow = client.upload_dataset(make_rows("slow", 50))
                poll_until(first.fired, lambda names: names == ["ingest.before_finish"])
                runner.run(server.stop())
                runner.run(server.start())
                second = replicas.start("scheduler", lease_s=60.0)
                quick = client.wait_for_dataset(client.upload_dataset(make_rows("quick", 50)))
                assert ready_datasets(replicas) == [quick.dataset_id]
                assert not client.get_dataset(slow).state.is_terminal
                released.touch()
                assert client.wait_for_dataset(slow).row_count == 50
            assert sorted(ready_datasets(replicas)) == sorted([quick.dataset_id, slow.dataset_id])
            assert replicas.logged("ingest_superseded") == []
            assert second.stop() == first.stop() == 0
        finally:
            replicas.close()
            runner.run(server.stop())
