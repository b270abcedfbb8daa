"""Two services on one data directory: the second ends and says why, the first does not notice."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.poll import poll_until
from tests.faults.running_job import SLOW, started_job
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)

EXIT_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(*SLOW) as simulator:
        yield simulator


@pytest.fixture
def service(postgres_directory: Path, tmp_path: Path, simulator: Simulator) -> Iterator[Service]:
    directory = postgres_directory / tmp_path.name
    directory.mkdir(mode=0o755)
    service = Service(directory, simulator.url)
    service.start()
    yield service
    service.close()
    print(service.log.read_text()[-6_000:])


def test_a_second_service_on_a_data_directory_ends(service: Service, simulator: Simulator, tmp_path: Path) -> None:
    """The second service names the first and ends with 2; the first one's job does not repeat a row."""
    with started_job(service, simulator, "second") as job:
        second = run_second(service)
        assert second.returncode == 2, second
        assert f"is in use by process {service.pid} on " in second.stderr
        assert "choose another data directory" in second.stderr
        assert "Traceback" not in second.stderr
        job.finish(tmp_path)


def test_a_killed_services_postgresql_does_not_keep_the_next_one_out(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    """A service started while the PostgreSQL of its killed predecessor still runs waits for its end and goes on."""
    with started_job(service, simulator, "orphan") as job:
        postgres = service.postgres_pid()
        service.kill()
        assert Path(f"/proc/{postgres}").exists(), "its PostgreSQL was gone before the next service came"
        service.start()
        assert service.postgres_pid() != postgres
        poll_until(lambda: Path(f"/proc/{postgres}").exists(), lambda there: not there)
        job.finish(tmp_path, repeated=32 + 1_000)


def run_second(service: Service) -> subprocess.CompletedProcess[str]:
    """Run another service on the same data directory until it ends."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "lorax_batch_server", "serve", "--listen", "localhost:0"),
            *("--data-dir", str(service.directory / "data")),
        ],
        capture_output=True,
        text=True,
        timeout=EXIT_TIMEOUT_S,
        check=False,
    )
