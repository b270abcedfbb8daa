"""The embedded PostgreSQL dies or freezes under a running job."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.poll import poll_until
from tests.faults.running_job import SLOW, check_calls_fail_quickly, is_serving, started_job, wait_noticed
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)

TIMEOUT_S = 1.0
SETTINGS = f"database_timeout_s = {TIMEOUT_S}\n"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(*SLOW) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(postgres_directory: Path, simulator: Simulator) -> Iterator[Service]:
    directory = postgres_directory / "postgresql-faults"
    directory.mkdir(mode=0o755)
    config = directory / "settings.toml"
    config.write_text(SETTINGS, encoding="utf-8")
    service = Service(directory, simulator.url, arguments=("--config", str(config)))
    service.start()
    yield service
    try:
        assert service.stop() == 0
    finally:
        service.close()


@pytest.fixture(autouse=True)
def _show_log(service: Service) -> Iterator[None]:
    start = service.log.stat().st_size
    yield
    print(service.log.read_text()[start:][-6_000:])


def test_the_postmaster_is_killed(service: Service, simulator: Simulator, tmp_path: Path) -> None:
    """A killed postmaster is started again, and the job goes on without asking for a row twice."""
    with started_job(service, simulator, "postmaster") as job:
        pid = service.postgres_pid()
        os.kill(pid, signal.SIGKILL)
        job.go_on("postmaster killed", within_s=10)
        assert service.postgres_pid() != pid
        job.finish(tmp_path)
    assert "postgres_died" in service.log.read_text()


def test_all_of_postgresql_is_killed(service: Service, simulator: Simulator, tmp_path: Path) -> None:
    """Postmaster and backends killed at once leave nothing behind that keeps a new PostgreSQL from starting."""
    with started_job(service, simulator, "group") as job:
        pid = service.postgres_pid()
        victims = [pid, *children(pid)]
        assert len(victims) > 10, "the pool's backends are missing"
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        job.go_on("PostgreSQL's whole group killed", within_s=10)
        assert service.postgres_pid() != pid
        job.finish(tmp_path)


def test_a_backend_is_killed_and_all_others_are_reset(service: Service, simulator: Simulator, tmp_path: Path) -> None:
    """One killed backend makes PostgreSQL throw out all the others and recover; the job only waits for that."""
    with started_job(service, simulator, "backend") as job:
        pid = service.postgres_pid()
        victim = next(
            child for child in children(pid) if b"lorax-batch" in command(child) or b"lorax" in command(child)
        )
        os.kill(victim, signal.SIGKILL)
        job.go_on("backend killed", within_s=10)
        assert service.postgres_pid() == pid
        job.finish(tmp_path)
    log = service.directory / "data" / "postgres" / "cluster" / "postgres.log"
    assert f"(PID {victim}) was terminated by signal 9" in log.read_text()


def test_a_backend_outlives_its_postmaster(service: Service, simulator: Simulator, tmp_path: Path) -> None:
    """Frozen backends that outlive their postmaster hold up its successor only until they are gone."""
    with started_job(service, simulator, "orphans") as job:
        pid = service.postgres_pid()
        orphan = children(pid)[-1]
        os.kill(orphan, signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            wait_noticed(service, "postmaster killed, a backend left", within_s=10)
            check_calls_fail_quickly(service, "PostgreSQL")
        finally:
            os.kill(orphan, signal.SIGCONT)
        job.go_on("orphaned backend gone", within_s=10)
        job.finish(tmp_path)


@pytest.mark.parametrize(
    "seconds",
    [3.0, pytest.param(60.0, marks=[pytest.mark.long, pytest.mark.timeout(180)])],
    ids=["briefly", "a minute"],
)
def test_postgresql_is_frozen(service: Service, simulator: Simulator, tmp_path: Path, seconds: float) -> None:
    """A frozen PostgreSQL is noticed within its timeout; calls fail at once, and the job goes on when it thaws."""
    with started_job(service, simulator, f"frozen{seconds:.0f}") as job:
        pid = service.postgres_pid()
        victims = [pid, *children(pid)]
        for victim in victims:
            os.kill(victim, signal.SIGSTOP)
        try:
            frozen_at = time.monotonic()
            wait_noticed(service, "PostgreSQL frozen", within_s=TIMEOUT_S + 3)
            check_calls_fail_quickly(service, "PostgreSQL is out of reach: no answer within 1 s")
            poll_until(time.monotonic, lambda now: now > frozen_at + seconds, timeout_s=seconds + 5)
            check_calls_fail_quickly(service, "PostgreSQL is out of reach")
        finally:
            for victim in victims:
                os.kill(victim, signal.SIGCONT)
        job.go_on("PostgreSQL thawed", within_s=10)
        poll_until(lambda: is_serving(service), bool)
        assert service.postgres_pid() == pid
        job.finish(tmp_path)


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
