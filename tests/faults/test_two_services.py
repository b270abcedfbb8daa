"""Two services on one PostgreSQL and one object store: they share jobs, and one goes on when the other dies."""

import itertools
from pathlib import Path

import pytest
from lorax_batch_client import JobState

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.replicas import Replicas
from tests.faults.replicas import replicas as replicas
from tests.processes import Simulator

pytestmark = pytest.mark.timeout(90)

LLAMA = "llama-2-7b"
SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "32")


def test_a_killed_service_leaves_its_rows_to_the_other(replicas: Replicas, tmp_path: Path) -> None:
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        first, second = replicas.start("all", one.url), replicas.start("all", two.url)
        rows = make_rows("both", 5_000, adapters=("", "org/a"))
        with first.client() as client:
            job_id = submit(client, rows).job_id
        with second.client() as client:
            story = JobStory(client, job_id)
            for simulator in (one, two):
                poll_until(lambda s=simulator: s.ask("stats")["rows_answered"], lambda count: count > 100)  # type: ignore[misc]
            first.kill()
            assert not client.get_job(job_id).is_terminal
            job = story.finish()
            assert job.state is JobState.SUCCEEDED
            assert job.counts.succeeded == 5_000
            check_all_rows(download_files(client, job, tmp_path), rows)
            sent = sum(simulator.ask("stats")["rows_received"] for simulator in (one, two))
            # What was in flight at the kill, or not yet committed, and no more.
            assert sent - 5_000 <= 32 + 1_000
        assert second.stop() == 0


def test_two_services_with_different_servers_leave_each_other_alone(replicas: Replicas, tmp_path: Path) -> None:
    with Simulator(*SLOW) as mistral, Simulator(*SLOW, "--model-id", "meta-llama/Llama-2-7b-hf") as llama:
        first, second = replicas.start("all", mistral.url), replicas.start("all", llama.url)
        with first.client() as client:
            waiting = submit(client, make_rows("nowhere", 10), base_model="llama-2-13b")
            waiting.until(lambda job: bool(job.reason))
            rows = make_rows("there", 1_500)
            story = submit(client, rows, base_model=LLAMA)
            reasons = []
            story.until_ended_rows(1)
            while not client.get_job(story.job_id).is_terminal:
                reasons.append(client.get_job(waiting.job_id).reason)
            changes = sum(before != after for before, after in itertools.pairwise(reasons))
            assert len(reasons) > 20
            assert changes <= 2, set(reasons)
            job = story.finish()
            check_all_rows(download_files(client, job, tmp_path), rows)
            states = story.check.states
            assert states[states.index(JobState.RUNNING) :] == [
                JobState.RUNNING,
                JobState.FINALIZING,
                JobState.SUCCEEDED,
            ]
            assert [change for change in states if change is JobState.STARTING] in ([], [JobState.STARTING])
            client.cancel_job(waiting.job_id)
            assert waiting.finish().counts.cancelled == 10
        assert first.stop() == 0
        assert second.stop() == 0
