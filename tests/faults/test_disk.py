"""The disk of the object store or of the data directory is full, or not ours any more, under a running job."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from lorax_batch_client import Client, RetryPolicy, errors

from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.running_job import SLOW, started_job
from tests.faults.small_disk import SmallDisk
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)

AT_ONCE = RetryPolicy(connect_for=timedelta(), reconnect_for=timedelta())
OBJECTS_BYTES = 8 << 20
DATA_BYTES = 160 << 20
"""PostgreSQL's own files need some 60 MB."""


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
def objects(directory: Path) -> Iterator[SmallDisk]:
    with SmallDisk(directory / "objects", OBJECTS_BYTES) as disk:
        yield disk


@pytest.fixture
def service(directory: Path, objects: SmallDisk, simulator: Simulator) -> Iterator[Service]:
    """Yield a service whose objects lie on a small disk."""
    service = Service(directory, simulator.url, arguments=("--object-store", str(objects.path)))
    service.start()
    yield service
    try:
        assert service.stop() == 0
    finally:
        service.close()
        print(service.log.read_text()[-6_000:])


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(SmallDisk.full, "No space left on device"), (SmallDisk.read_only, "Read-only file system")],
    ids=["full", "read-only"],
)
def test_the_object_store_takes_no_writes(
    service: Service,
    objects: SmallDisk,
    simulator: Simulator,
    tmp_path: Path,
    trouble: Callable[[SmallDisk], AbstractContextManager[None]],
    reason: str,
) -> None:
    """Uploads into such a store are refused with the reason and leave nothing; files of jobs are written later."""
    with started_job(service, simulator, "full", 800) as job:
        with trouble(objects):
            before = stored_files(objects.path)
            with Client(service.target, retry=AT_ONCE) as client, pytest.raises(errors.UnavailableError) as caught:
                client.upload_dataset(make_rows("refused", 300))
            assert reason in str(caught.value)
            assert stored_files(objects.path) <= before
            poll_until(service.log.read_text, lambda log: "finalising_delayed" in log)
        job.finish(tmp_path)
    with service.client() as client:
        rows = make_rows("again", 50)
        ended = JobStory(client, client.create_job(client.upload_dataset(rows), base_model=MODEL)).finish()
        check_all_rows(download_files(client, ended, tmp_path), rows)


def test_the_data_directory_is_full(directory: Path, simulator: Simulator, tmp_path: Path) -> None:
    """While PostgreSQL has no room results wait; with room again the job goes on by itself, and no row is lost."""
    with SmallDisk(directory / "data", DATA_BYTES) as disk, Service(directory, simulator.url) as service:
        with started_job(service, simulator, "database full", 1_500) as job:
            with disk.full():
                poll_until(service.log.read_text, lambda log: "No space left" in log, timeout_s=30)
            job.go_on("room in the data directory again", within_s=15)
            job.finish(tmp_path)
        assert service.stop() == 0


def stored_files(path: Path) -> set[Path]:
    """Return all files but the ballast."""
    return {file for file in path.rglob("*") if file.is_file() and file.name != "ballast"}
