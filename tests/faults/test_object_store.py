"""S3 breaks while datasets are uploaded and checked, while their rows run, and while files are written."""

import errno
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from lorax_batch_client import JobState

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.proxy import Proxy
from tests.faults.refusing_server import RefusingServer
from tests.faults.running_job import SLOW
from tests.processes import Service, Simulator
from tests.s3_fixtures import store_url_at

pytestmark = pytest.mark.timeout(120)

Fault = Callable[[Proxy], AbstractContextManager[Callable[[], bool]]]
"""Breaks what is behind the proxy; yields what tells whether the fault has met something."""


@contextmanager
def unreachable(proxy: Proxy) -> Iterator[Callable[[], bool]]:
    """Reset every connection as soon as it is made, as nobody listens behind the proxy; each is counted."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # keeps the port; it does not listen
        unreachable = proxy.hits.unreachable
        before = proxy.redirect(f"127.0.0.1:{deaf.getsockname()[1]}")
        try:
            yield lambda: proxy.hits.unreachable > unreachable
        finally:
            proxy.redirect(before)


@contextmanager
def refused(proxy: Proxy) -> Iterator[Callable[[], bool]]:
    """Refuse every connection; the kernel does it and counts none, so one of the test's own is tried."""
    proxy.refuse()
    proxy.cut()

    def is_refused() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", proxy.port)) == errno.ECONNREFUSED

    yield is_refused


@contextmanager
def silent(proxy: Proxy) -> Iterator[Callable[[], bool]]:
    before = proxy.hits.swallowed_bytes
    proxy.black_hole()
    yield lambda: proxy.hits.swallowed_bytes > before


@contextmanager
def truncating(proxy: Proxy) -> Iterator[Callable[[], bool]]:
    """Cut every connection after some hundred bytes, in the middle of a body."""
    before = proxy.hits.cut
    proxy.cut_after(*[600] * 1_000)
    yield lambda: proxy.hits.cut > before


def refusing(status: int, code: str) -> Fault:
    @contextmanager
    def refuse(proxy: Proxy) -> Iterator[Callable[[], bool]]:
        with RefusingServer(status, code) as server:
            before = proxy.redirect(server.address)
            try:
                yield lambda: server.refused > 0
            finally:
                proxy.redirect(before)

    return refuse


@contextmanager
def broken(proxy: Proxy, fault: Fault) -> Iterator[Callable[[], bool]]:
    """Break what is behind the proxy for a while."""
    try:
        with fault(proxy) as was_hit:
            yield was_hit
    finally:
        proxy.heal()


FAULTS: dict[str, Fault] = {
    "silent": silent,
    "unreachable": unreachable,
    "refused": refused,
    "truncating": truncating,
    "SlowDown": refusing(503, "SlowDown"),
    "InternalError": refusing(500, "InternalError"),
    "ServiceUnavailable": refusing(503, "ServiceUnavailable"),
}


def faults(*short: str) -> pytest.MarkDecorator:
    """Run a test under all faults, those but the named ones only when asked for: each takes some seconds."""
    return pytest.mark.parametrize(
        "fault",
        [
            pytest.param(fault, id=name, marks=() if name in short else pytest.mark.long)
            for name, fault in FAULTS.items()
        ],
    )


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(*SLOW) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def proxy(moto_url: str) -> Iterator[Proxy]:
    with Proxy(moto_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def service(postgres_directory: Path, simulator: Simulator, proxy: Proxy, moto_url: str) -> Iterator[Service]:
    directory = postgres_directory / "object-store-faults"
    directory.mkdir(mode=0o755)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        url = store_url_at(moto_url).replace(moto_url, proxy.url) + "&silence_s=1"
        service = Service(directory, simulator.url, arguments=("--object-store", url))
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


@pytest.fixture
def holding(service: Service, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Yield what starts the service anew so that it waits at a failpoint until a file is made."""

    def hold(name: str) -> Path:
        service.kill()
        service.start(f"{name}=hold:{tmp_path / name}@1")
        return tmp_path / name

    yield hold
    service.kill()
    service.start()


@faults("SlowDown")
def test_chunks_of_a_running_job_cant_be_read(
    service: Service, simulator: Simulator, proxy: Proxy, tmp_path: Path, fault: Fault
) -> None:
    """A job whose next rows can't be read says so, runs what it has, and goes on when the store is back."""
    rows = make_rows("read", 2_000, adapters=tuple(f"org/a{number}" for number in range(10)))
    before = simulator.ask("stats")["rows_received"]
    with service.client() as client:
        story = submit(client, rows)
        story.until_ended_rows(1)
        with broken(proxy, fault) as was_hit:
            poll_until(lambda: client.get_job(story.job_id).reason, lambda reason: "can't be read" in reason)
            assert was_hit()
        job = story.finish()
        assert job.state is JobState.SUCCEEDED
        assert job.reason == ""
        check_all_rows(download_files(client, job, tmp_path), rows)
    assert simulator.ask("stats")["rows_received"] == before + len(rows)


@faults("silent")
def test_an_upload_meets_a_store_that_is_away(service: Service, proxy: Proxy, tmp_path: Path, fault: Fault) -> None:
    """An upload into a store that is away is refused for now with what is wrong, and goes on where it was later."""
    rows = make_rows("upload", 300)
    with service.client() as client:
        log_before = service.log.stat().st_size
        with ThreadPoolExecutor() as threads, broken(proxy, fault) as was_hit:
            uploading = threads.submit(client.upload_dataset, rows)
            poll_until(
                lambda: said(service, log_before), lambda log: '"UploadDataset"' in log and '"UNAVAILABLE"' in log
            )
            assert was_hit()
        story = JobStory(client, client.create_job(uploading.result(30), base_model=MODEL))
        check_all_rows(download_files(client, story.finish(), tmp_path), rows)


@pytest.mark.parametrize(
    "name", [pytest.param("ingest.before_chunk_put", marks=pytest.mark.long), "finalise.before_put"]
)
@faults("unreachable")
def test_chunks_or_files_cant_be_written(
    service: Service,
    proxy: Proxy,
    tmp_path: Path,
    holding: Callable[[str], Path],
    name: str,
    fault: Fault,
) -> None:
    """A dataset or a job whose objects can't be written is tried again until they are."""
    rows = make_rows("write", 300)
    release = holding(name)
    with service.client() as client:
        log_before = service.log.stat().st_size
        job = client.create_job(client.upload_dataset(rows), base_model=MODEL)
        poll_until(service.fired, lambda fired: name in fired)
        with broken(proxy, fault) as was_hit:
            release.touch()
            event = "ingest_failed" if name.startswith("ingest") else "finalising_delayed"
            poll_until(lambda: said(service, log_before), lambda log: event in log)
            assert was_hit()
            assert not client.get_job(job).is_terminal
        ended = JobStory(client, job).finish()
        assert ended.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, ended, tmp_path), rows)


def said(service: Service, after: int) -> str:
    """Return what the service has logged since."""
    return service.log.read_text()[after:]
