"""Schedulers that go on after their lease is lost: what they know is thrown away, and they send nothing more."""

import asyncio
from pathlib import Path

import asyncpg
from lorax_batch_client import JobState

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.scenarios.conftest import SLOW, Start
from tests.faults.scenarios.witness import (
    calls,
    check_unchanged,
    freeze,
    once_each,
    thaw,
    wait_arrived,
    wait_fired,
    wait_logged,
)
from tests.processes import Simulator


def test_zombie_owner_burns_inference(start: Start, tmp_path: Path) -> None:
    """A scheduler that was frozen in the middle of a job, and wakes up when another one has finished it, sends no row
    more but the one that it may have been sending.

    Fencing its results alone would keep the answers right, and let it pay for the rest of the job a second time.
    """
    with Simulator(*SLOW) as one, Simulator("--time-scale", "0") as two:
        owner = start(one.url)
        rows = make_rows("zombie", 1_500)
        with owner.client() as client:
            job_id = client.create_job(client.upload_dataset(rows), base_model=MODEL).job_id
            wait_arrived("zombie", 100, one)
            freeze(owner)
            sent = poll_until(lambda: (one.ask("stats")["permits_taken"], calls("zombie", one)), lambda now: not now[0])
            assert sent[1].total() < len(rows) / 2
        with start(two.url).client() as client:
            job = JobStory(client, job_id).finish()
            assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, len(rows))
            thaw(owner)
            wait_logged(owner, "lease_lost")
            check_all_rows(download_files(client, job, tmp_path), rows)
        assert owner.stop() == 0
        # One may have been past the look at the clock when it froze.
        assert calls("zombie", one).total() <= sent[1].total() + 1, "rows were sent behind the loss"
        # In flight at the freeze, or answered and not committed.
        assert calls("zombie", one, two).total() - len(rows) <= 16 + 300


MOMENTS = ("run.before_commit", "run.before_release")


async def test_a_zombie_at_each_of_its_moments(
    start: Start, database: str, simulator: Simulator, tmp_path: Path
) -> None:
    """Frozen before a commit, or before it gives leases back, a scheduler that wakes up late stores nothing twice."""
    heir = start(simulator.url)
    zombie = start(simulator.url, failpoints=f"{MOMENTS[0]}=stop@1")
    for number, moment in enumerate(MOMENTS):
        tag = f"moment{number}y"
        rows = make_rows(tag, 200)
        if number:
            zombie.start(f"{moment}=stop@1")
        freeze(heir)
        with zombie.client() as client:
            job_id = client.create_job(client.upload_dataset(rows), base_model=MODEL).job_id
            wait_fired(zombie, moment)
        thaw(heir)
        with heir.client() as client:
            job = JobStory(client, job_id).finish()
            # The heir, which has just ended the job, has declared the zombie dead.
            await wait_true(database, "SELECT count(*) = 1 FROM schedulers")
            sent = calls(tag, simulator)
            thaw(zombie)
            zombie.wait_logged("lease_lost")
            assert zombie.stop() == 0, "it did not get over what it found"
            check_unchanged(job, client.get_job(job))
            assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, len(rows))
            check_all_rows(download_files(client, job, tmp_path), rows)
        assert calls(tag, simulator) == sent, "rows were sent behind the loss"
        assert sent.keys() == once_each(tag, len(rows)).keys()
        assert max(sent.values()) <= 2, "once by each of them"
    assert zombie.fired() == list(MOMENTS)
    assert heir.stop() == 0


def test_a_scheduler_frozen_in_a_transaction_holds_nobody_up(
    start: Start, simulator: Simulator, tmp_path: Path
) -> None:
    """A scheduler that is frozen in the middle of moving a job, all its locks taken, holds up no job for long."""
    bystander = start()
    zombie = start(simulator.url, failpoints="move.before_event=stop@1")
    rows = make_rows("locked", 20)
    with bystander.client() as client:
        story = submit(client, rows)
        wait_fired(zombie, "move.before_event")
        heir = start(simulator.url)
        job = story.finish()
        assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, len(rows))
        thaw(zombie)
        assert zombie.stop() == 0, "it did not get over what it found"
        check_unchanged(job, client.get_job(job))
        check_all_rows(download_files(client, job, tmp_path), rows)
    assert calls("locked", simulator) == once_each("locked", len(rows))
    assert heir.stop() == 0


def test_no_row_is_sent_while_the_lease_may_be_lost(start: Start, tmp_path: Path) -> None:
    """A scheduler whose renewals do not come through stops sending when its lease is over, and goes on with the same
    rows when it turns out that nobody took them."""
    go_on = tmp_path / "go-on"
    with Simulator("--time-scale", "0.1", "--max-concurrent-requests", "8") as simulator:
        go_on.touch()
        service = start(simulator.url, failpoints=f"lease.before_renew=hold:{go_on}")
        rows = make_rows("unsure", 1_000)
        with service.client() as client:
            story = submit(client, rows)
            wait_arrived("unsure", 1, simulator)
            go_on.unlink()
            poll_until(lambda: simulator.ask("stats")["permits_taken"], lambda taken: taken == 0)
            waiting = client.get_job(story.job_id)
            assert not waiting.is_terminal
            assert calls("unsure", simulator).total() < len(rows)
            go_on.touch()
            job = story.finish()
            check_all_rows(download_files(client, job, tmp_path), rows)
        assert calls("unsure", simulator) == once_each("unsure", len(rows))
        assert "lease_lost" not in service.log.read_text()
        assert service.stop() == 0


async def run_statement(dsn: str, statement: str) -> object:
    """Run a statement beside the services, and return its first value."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def wait_true(dsn: str, statement: str) -> None:
    """Return when a statement says so."""
    async with asyncio.timeout(20):
        while not await run_statement(dsn, statement):  # noqa: ASYNC110 - other processes make it true
            await asyncio.sleep(0.02)


async def test_rows_in_flight_of_a_lost_lease_meet_the_same_rows_under_the_next(
    start: Start, database: str, well_behaved: Simulator, tmp_path: Path
) -> None:
    """A scheduler that was declared dead takes its own chunks again while rows of the old lease are still in flight:
    every row has one result."""
    go_on = tmp_path / "go-on"
    go_on.touch()
    simulator = well_behaved
    simulator.ask("faults", {"on": ["wedge"]})
    bystander = start(wait=False)
    service = start(simulator.url, failpoints=f"lease.before_renew=hold:{go_on}")
    bystander.wait_ready()
    rows = make_rows("again", 300)
    with service.client() as client:
        story = submit(client, rows)
        wait_arrived("again", 10, simulator)
        go_on.unlink()
        # The other one declares it dead on database time.
        await wait_true(database, "SELECT count(*) = 1 FROM schedulers")
        go_on.touch()
        wait_logged(service, "lease_lost")
        await wait_true(database, "SELECT count(*) > 0 FROM job_chunks WHERE epoch > 2 AND scheduler_id IS NOT NULL")
        simulator.ask("faults", {"clear": True})
        job = story.finish()
        assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, len(rows))
        check_all_rows(download_files(client, job, tmp_path), rows)
    assert calls("again", simulator).keys() == once_each("again", len(rows)).keys()
    assert service.stop() == 0


async def test_a_chunk_that_somebody_else_has_is_dropped_at_the_next_commit(
    start: Start, database: str, tmp_path: Path
) -> None:
    """An owner whose own lease is good learns from its next commit that a chunk is not its own any more, and sends no
    more rows of it."""
    with Simulator("--time-scale", "0.1", "--max-concurrent-requests", "8") as simulator:
        service = start(simulator.url)
        rows = make_rows("taken", 900)
        with service.client() as client:
            story = submit(client, rows)
            story.until_ended_rows(20)
            await run_statement(database, "INSERT INTO schedulers VALUES ('ghost', now() + interval '1 h')")
            await run_statement(database, "UPDATE job_chunks SET scheduler_id = 'ghost', epoch = epoch + 1")
            wait_logged(service, "chunk_lost")
            poll_until(lambda: simulator.ask("stats")["permits_taken"], lambda taken: taken == 0)
            sent = calls("taken", simulator).total()
            assert sent < len(rows)
            await run_statement(database, "UPDATE schedulers SET lease_until = now() WHERE scheduler_id = 'ghost'")
            job = story.finish()
            check_all_rows(download_files(client, job, tmp_path), rows)
            assert calls("taken", simulator).total() <= sent + len(rows) - 20
        assert service.stop() == 0
