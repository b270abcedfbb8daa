"""Who executes a row: one owner at a time, and another one when it dies."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from lorax_batch_client import JobState

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.scenarios.conftest import SLOW, Start
from tests.faults.scenarios.witness import calls, check_unchanged, once_each, thaw, wait_fired, wait_logged
from tests.processes import Simulator

JOBS = 12


def test_worker_crash_strands_job(start: Start, tmp_path: Path) -> None:
    """A job whose scheduler is killed goes on in another one and keeps the rows that were committed.

    Without leases that run out, nobody would own the job any more; without results kept outside the process, all that
    was paid for would be run again or be given up.
    """
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        first = start(one.url, failpoints="run.after_commit=kill@3", wait=False)
        second = start(two.url)
        first.wait_ready()
        rows = make_rows("crash", 1_200, adapters=("", "org/a"))
        with second.client() as client:
            story = submit(client, rows)
            first.wait_killed()
            job = story.finish()
            assert first.fired() == ["run.after_commit"]
            assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, len(rows))
            check_all_rows(download_files(client, job, tmp_path), rows)
        arrived = calls("crash", one, two)
        assert arrived.keys() == once_each("crash", len(rows)).keys()
        assert calls("crash", one), "the one that was killed had nothing to do"
        # What was in flight at the kill, or answered since the last commit.
        assert arrived.total() - len(rows) <= 16 + 300


def test_duplicate_execution(start: Start, tmp_path: Path) -> None:
    """Rows that were taken by a scheduler that then stood still are executed once, by the one that takes them over.

    Without the lease's own clock, the first one would wake up with rows in its hands and send them a second time.
    """
    with Simulator("--time-scale", "0") as one, Simulator("--time-scale", "0") as two:
        first = start(one.url, failpoints="run.after_claim=stop")
        rows = make_rows("dup", 1_200, adapters=("", "org/a"))
        with first.client() as client:
            job_id = client.create_job(client.upload_dataset(rows), base_model=MODEL).job_id
            wait_fired(first, "run.after_claim")
        second = start(two.url)
        with second.client() as client:
            job = JobStory(client, job_id).finish()
            thaw(first)
            wait_logged(first, "lease_lost")
            assert job.state is JobState.SUCCEEDED
            check_unchanged(job, client.get_job(job_id))
            check_all_rows(download_files(client, job, tmp_path), rows)
        assert calls("dup", one, two) == once_each("dup", len(rows))
        assert first.stop() == 0


def test_replicas_execute_once(start: Start, tmp_path: Path) -> None:
    """Three schedulers that compete for a burst of jobs, each with its own server, send every row exactly once.

    Without claims that exclude each other, two of them would run the same job.
    """
    rows = make_rows("burst", 60, adapters=("", "org/a", "org/b"))
    with ExitStack() as stack:
        simulators = [stack.enter_context(Simulator(*SLOW)) for _ in range(3)]
        replicas = [start(simulator.url, wait=False) for simulator in simulators]
        for replica in replicas:
            replica.wait_ready()
        one, two, three = (stack.enter_context(replica.client()) for replica in replicas)
        dataset = one.wait_for_dataset(one.upload_dataset(rows))
        jobs = [client.create_job(dataset, base_model=MODEL) for _ in range(JOBS // 3) for client in (one, two, three)]
        for job in jobs:
            ended = JobStory(two, job).finish()
            assert ended.state is JobState.SUCCEEDED
            check_all_rows(download_files(two, ended, tmp_path), rows)
        shares = [calls("burst", simulator).total() for simulator in simulators]
        assert min(shares) > 0, f"they did not compete: {shares}"
        assert calls("burst", *simulators) == Counter(dict.fromkeys(once_each("burst", len(rows)), JOBS))
        assert [replica.stop() for replica in replicas] == [0, 0, 0]
