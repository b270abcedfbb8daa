"""A scheduler that is paused longer than its lease, wakes up, and tries to commit what others have done meanwhile."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import JobState
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.postgres_fixtures import TEST_SETTINGS
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)

LEASE_S = 1.5
SLOW = ("--time-scale", "0.3", "--max-concurrent-requests", "32")
Start = Callable[..., Service]


@pytest.fixture(scope="module")
def shared_postgres(postgres_directory: Path) -> Iterator[str]:
    server = EmbeddedPostgres(postgres_directory / "zombie", settings=TEST_SETTINGS)
    with asyncio.Runner() as runner:
        yield runner.run(server.start())
        runner.run(server.stop())


@pytest.fixture
def start(shared_postgres: str, tmp_path: Path) -> Iterator[Start]:
    """Yield what starts a scheduler of that PostgreSQL."""
    services: list[Service] = []

    def begin(server: str, failpoints: str = "") -> Service:
        directory = tmp_path / f"service-{len(services)}"
        directory.mkdir()
        config = directory / "settings.toml"
        config.write_text(f"lease_s = {LEASE_S}", encoding="utf-8")
        arguments = ("--config", str(config), "--database-url", shared_postgres)
        service = Service(directory, server, arguments=(*arguments, "--object-store", str(tmp_path / "objects")))
        services.append(service)
        service.start(failpoints)
        return service

    yield begin
    for service in services:
        os.kill(service.pid, signal.SIGCONT)
        service.close()
        print(service.log.read_text()[-6_000:])


def test_a_zombies_results_are_thrown_away(start: Start, tmp_path: Path) -> None:
    """What a paused scheduler had gathered and in flight when its lease ran out is not counted beside what others did.

    It stops itself right before its third commit: with rows gathered, with rows in flight, and with a lease to lose.
    """
    rows = make_rows("zombie", 3_000, adapters=("", "org/a"))
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        zombie = start(one.url, "run.before_commit=stop@3")
        with zombie.client() as client:
            job_id = submit(client, rows).job_id
        poll_until(lambda: state_of(zombie.pid), lambda state: state == "T")
        assert zombie.fired() == ["run.before_commit"]
        answered = one.ask("stats")["rows_answered"]
        other = start(two.url)
        with other.client() as client:
            story = JobStory(client, job_id)
            done = story.until(lambda job: job.counts.ended > 0).counts.ended
            # Only when the other has taken over what the zombie holds results of does its commit come too late.
            poll_until(lambda: two.ask("stats")["rows_received"], lambda count: count > 500)
            os.kill(zombie.pid, signal.SIGCONT)
            poll_until(zombie.log.read_text, lambda log: "lease_lost" in log and "chunk_lost" in log)
            job = story.finish()
            assert job.state is JobState.SUCCEEDED
            assert job.counts.succeeded == len(rows)
            check_all_rows(download_files(client, job, tmp_path), rows)
        sent = sum(simulator.ask("stats")["rows_received"] for simulator in (one, two))
        thrown_away = sent - len(rows)
        print(f"the zombie had {answered} answers, {done} of them committed; {thrown_away} rows were run again")
        assert 0 < thrown_away <= 32 + 2_000
        assert goes_on_under_a_new_name(zombie)
        check_the_zombie_works_again(zombie, one, tmp_path)


def check_the_zombie_works_again(zombie: Service, simulator: Simulator, folder: Path) -> None:
    before = simulator.ask("stats")["rows_received"]
    rows = make_rows("revenant", 600, adapters=("", "org/a"))
    with zombie.client() as client:
        job = submit(client, rows).finish()
        assert job.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, job, folder), rows)
    assert simulator.ask("stats")["rows_received"] > before


def goes_on_under_a_new_name(zombie: Service) -> bool:
    """Tell whether it lost its lease once, and none since."""
    return zombie.log.read_text().count('"lease_lost"') == 1


def state_of(pid: int) -> str:
    """Return the state of a process as the kernel's letter: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
