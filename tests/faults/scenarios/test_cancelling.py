"""Cancelling: what was cancelled stays so, what has ended stays as it is, whatever dies or comes in between."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from lorax_batch_client import ClientError, Job, JobState
from lorax_batch_client.errors import FailedPreconditionError, UnavailableError

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.scenarios.conftest import Start
from tests.faults.scenarios.witness import answered, calls, check_unchanged, once_each, wait_arrived, wait_fired
from tests.processes import Simulator

NOBODY_HOSTS = "llama-2-13b"


def test_cancel_reverted(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """A queued job whose cancelling killed the service never runs when it was stored, and runs when it was not.

    Where a job is taken from a queue and marked as cancelled in two steps, a repair that finds it "lost" runs it.
    """
    moments = ["cancel.before_move", "cancel.after_move"]
    datasets = [make_rows("notstored", 200), make_rows("stored", 200)]
    job_ids: list[str] = []
    front = start(failpoints=f"{moments[0]}=kill")
    for moment, rows in zip(moments, datasets, strict=True):
        if job_ids:
            front.start(f"{moment}=kill")
        with front.client() as client:
            job_ids.append(submit(client, rows).job_id)
            with pytest.raises(UnavailableError):
                client.cancel_job(job_ids[-1])
        front.wait_killed()
    assert front.fired() == moments
    with start(simulator.url).client() as client:
        uncancelled, cancelled = (JobStory(client, job_id).finish() for job_id in job_ids)
        for job, rows in zip((uncancelled, cancelled), datasets, strict=True):
            check_all_rows(download_files(client, job, tmp_path), rows)
    assert (uncancelled.state, uncancelled.counts.succeeded) == (JobState.SUCCEEDED, 200)
    assert calls("notstored", simulator) == once_each("notstored", 200)
    assert (cancelled.state, cancelled.counts.cancelled) == (JobState.CANCELLED, 200)
    assert not calls("stored", simulator)


async def cut_listeners(dsn: str) -> int:
    """End the connections by which the services of a database hear of changes; return how many there were."""
    connection = await asyncpg.connect(dsn)
    try:
        count: int = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
    finally:
        await connection.close()
    return count


async def test_cancel_event_lost(start: Start, database: str, tmp_path: Path) -> None:
    """A cancel is honoured though whoever took it died at once and its notification reached nobody.

    Where the cancel is a message beside the state, its loss lets the job run on and end as completed.
    """
    open_again = tmp_path / "open"
    rows = make_rows("unheard", 3_000)
    with Simulator("--time-scale", "0.1", "--max-concurrent-requests", "8") as simulator:
        worker = start(simulator.url, failpoints=f"listen.before_connect=hold:{open_again}@2", wait=False)
        front = start(failpoints="cancel.after_move=kill")
        worker.wait_ready()
        with worker.client() as client, front.client() as other:
            story = submit(client, rows)
            story.until_ended_rows(1)
            assert await cut_listeners(database) == 2
            wait_fired(worker, "listen.before_connect")
            with pytest.raises(UnavailableError):
                other.cancel_job(story.job_id)
            front.wait_killed()
            assert client.get_job(story.job_id).state is JobState.CANCELLING
            open_again.touch()
            job = story.finish()
            assert front.fired() == ["cancel.after_move"]
            assert job.state is JobState.CANCELLED
            check_all_rows(download_files(client, job, tmp_path), rows)
            assert calls("unheard", simulator).total() == job.counts.succeeded < len(rows)
            assert job.counts.succeeded + job.counts.cancelled == len(rows)
        assert worker.stop() == 0


def test_cancel_racing_completion(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """A cancel and the end of a job meet: one of them wins, the loser changes nothing, and no answered row is lost.

    Where the cancel writes what it decided on an older reading, a finished job becomes a cancelled one.
    """
    holds = {name: tmp_path / name for name in ("cancel.before_move", "run.before_commit", "run.before_move")}
    for file in holds.values():
        file.touch()
    service = start(simulator.url, failpoints=",".join(f"{name}=hold:{file}" for name, file in holds.items()))
    with service.client() as client, ThreadPoolExecutor() as threads:
        rows = make_rows("behindend", 100)
        holds["cancel.before_move"].unlink()
        story = submit(client, rows)
        cancelling = threads.submit(client.cancel_job, story.job_id)
        wait_fired(service, "cancel.before_move")
        job = story.finish()
        assert not cancelling.done()
        holds["cancel.before_move"].touch()
        with pytest.raises(FailedPreconditionError, match="SUCCEEDED"):
            cancelling.result()
        assert job.state is JobState.SUCCEEDED
        check_unchanged(job, client.get_job(job))
        check_all_rows(download_files(client, job, tmp_path), rows)
        # Before the last commit, and between it and the move that it calls for.
        for moment, committed in (("run.before_commit", 0), ("run.before_move", 100)):
            tag = moment.rpartition("_")[2]
            rows = make_rows(tag, 100)
            dataset = client.wait_for_dataset(client.upload_dataset(rows))
            with holding(simulator):
                story = JobStory(client, client.create_job(dataset, base_model=MODEL))
                story.until(lambda job: job.state is JobState.RUNNING)
                wait_arrived(tag, 1, simulator)
                holds[moment].unlink()
            poll_until(lambda t=tag: answered(t, simulator), lambda count: count == 100)  # type: ignore[misc]
            poll_until(lambda s=story: client.get_job(s.job_id).counts.ended, lambda count, c=committed: count == c)  # type: ignore[misc]
            assert client.cancel_job(story.job_id).state is JobState.CANCELLING
            holds[moment].touch()
            job = story.finish()
            assert story.check.states[-2:] == [JobState.CANCELLING, JobState.CANCELLED]
            assert job.counts.succeeded == 100
            check_all_rows(download_files(client, job, tmp_path), rows)
            client.delete_job(job)
    assert set(holds) <= set(service.fired())
    for tag in ("behindend", "commit", "move"):
        assert calls(tag, simulator) == once_each(tag, 100)


@contextmanager
def holding(simulator: Simulator) -> Iterator[None]:
    """Let the server take rows and answer none meanwhile."""
    simulator.ask("faults", {"on": ["wedge"]})
    try:
        yield
    finally:
        simulator.ask("faults", {"clear": True})


def attempt(act: object, *arguments: object) -> object:
    """Return what a call answered, or the error that it was refused with."""
    try:
        return act(*arguments)  # type: ignore[operator]
    except ClientError as error:
        return error


def test_callers_that_contradict_each_other_are_all_answered(start: Start, simulator: Simulator) -> None:
    """Cancel, cancel again, pause, resume, retry and delete from two replicas at once: each is done or refused."""
    one, two = start(wait=False), start()
    one.wait_ready()
    with one.client() as left, two.client() as right, ThreadPoolExecutor(8) as threads:
        dataset = left.wait_for_dataset(left.upload_dataset(make_rows("quarrel", 20)))
        for _ in range(8):
            job = left.create_job(dataset, base_model=NOBODY_HOSTS)
            story = JobStory(right, job)
            left.pause_job(job)
            acts = [left.cancel_job, right.cancel_job, left.resume_job, right.resume_job, right.pause_job]
            answers = [future.result() for future in [threads.submit(attempt, act, job) for act in acts]]
            assert all(isinstance(answer, Job | FailedPreconditionError) for answer in answers), answers
            assert all(isinstance(answer, Job) for answer in answers[:2]), "to cancel twice is no error"
            ended = story.finish()
            assert (ended.state, ended.counts.cancelled) == (JobState.CANCELLED, 20)
            # Whichever comes first: the new job needs nothing of the old one.
            retried, gone = threads.submit(attempt, left.retry_job, job), threads.submit(attempt, right.delete_job, job)
            assert gone.result() is None
            again = retried.result()
            if isinstance(again, Job):
                assert again.counts.total == 20
                right.cancel_job(again)
                assert JobStory(left, again).finish().counts.cancelled == 20
            else:
                assert isinstance(again, ClientError)
                assert again.reason == "NOT_FOUND"
    assert not calls("quarrel", simulator)


def test_cancel_expiry_and_the_last_row_come_at_once(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """The deadline passes, a caller cancels and the last row is answered while the scheduler can't commit."""
    holds = {name: tmp_path / name for name in ("run.before_commit", "cancel.before_move")}
    service = start(simulator.url, failpoints=",".join(f"{name}=hold:{file}" for name, file in holds.items()))
    rows = make_rows("allatonce", 50)
    with service.client() as client, ThreadPoolExecutor() as threads:
        story = submit(client, rows)
        wait_arrived("allatonce", len(rows), simulator)
        wait_fired(service, "run.before_commit")
        cancel = threads.submit(attempt, client.cancel_job, story.job_id)
        wait_fired(service, "cancel.before_move")
        deadline = client.update_job(story.job_id, deadline=timedelta(seconds=0.5)).deadline
        assert deadline is not None
        assert client.get_job(story.job_id).deadline == deadline
        poll_until(lambda: datetime.now(UTC), lambda now: now >= deadline)
        holds["cancel.before_move"].touch()
        poll_until(lambda: client.get_job(story.job_id).state, lambda state: state is not JobState.RUNNING)
        holds["run.before_commit"].touch()
        job = story.finish()
        answer = cancel.result()
        late = isinstance(answer, FailedPreconditionError) and any(
            word in str(answer) for word in ("EXPIR", "FINALIZING")
        )
        assert isinstance(answer, Job) or late
        assert job.deadline == deadline
        assert (job.state is JobState.CANCELLED) == isinstance(answer, Job)
        assert job.state in (JobState.CANCELLED, JobState.EXPIRED)
        assert job.counts.succeeded == len(rows)
        check_all_rows(download_files(client, job, tmp_path), rows)
    assert calls("allatonce", simulator) == once_each("allatonce", len(rows))
