"""Clocks jump by hours under a running job: the service's own, and the database's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lorax_batch_client import JobState
from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE, find_binaries

from tests.end_to_end.job_story import submit
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.clock_shift import ClockShift
from tests.faults.external_postgres import ExternalPostgres
from tests.faults.running_job import SLOW, started_job
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(*SLOW) as simulator:
        yield simulator


@pytest.fixture
def directory(postgres_directory: Path, tmp_path: Path) -> Path:
    directory = postgres_directory / tmp_path.name
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture
def shift(directory: Path) -> ClockShift:
    return ClockShift(directory)


def test_the_services_clock_jumps(
    directory: Path, shift: ClockShift, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No deadline passes, no lease is lost, no watch ends and no timer stands still when the service's clock jumps."""
    for name, value in shift.environment.items():
        monkeypatch.setenv(name, value)
    with Service(directory, simulator.url) as service, service.client() as client:
        rows = make_rows("jump", 1_500)
        story = submit(client, rows, deadline=datetime.now(UTC) + timedelta(hours=1))
        done = story.until_ended_rows(1).counts.ended
        for hours in (6, -6, 0):
            shift.jump_to(hours)
            done = story.until_ended_rows(done + 200).counts.ended
            client.update_job(story.job_id, priority=hours + 10)  # a line for the log, with the time as it seems
        job = story.finish()
        assert job.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, job, tmp_path), rows)
        log = service.log.read_text()
        ahead = (datetime.now(UTC) + timedelta(hours=6)).strftime('"timestamp": "%Y-%m-%dT%H')
        assert ahead in log, "the clock did not jump"
        assert "lease_lost" not in log


def test_the_databases_clock_jumps(
    directory: Path, shift: ClockShift, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that a jump of the database's clock has ended goes on while nobody wants its work: no row is repeated."""
    programs = shift.postgres_programs(find_binaries().bin_dir, directory / "bin")
    monkeypatch.setenv(BIN_VARIABLE, str(programs))
    postgres = ExternalPostgres(directory / "postgres")
    postgres.start()
    config = directory / "settings.toml"
    config.write_text("lease_s = 1.0", encoding="utf-8")
    try:
        arguments = ("--config", str(config), "--database-url", postgres.dsn)
        with Service(directory, simulator.url, arguments=arguments) as service:
            with started_job(service, simulator, "database clock", 1_500) as job:
                true_hour = postgres.value("SELECT extract(epoch FROM now()) / 3600")
                shift.jump_to(6)
                assert postgres.value("SELECT extract(epoch FROM now()) / 3600") >= true_hour + 5
                job.go_on("database clock 6 h ahead", within_s=10)
                shift.jump_to(-6)
                assert postgres.value("SELECT extract(epoch FROM now()) / 3600") <= true_hour - 5
                job.go_on("database clock 6 h behind", within_s=10)
                job.finish(tmp_path)
            assert service.stop() == 0
    finally:
        postgres.stop()
