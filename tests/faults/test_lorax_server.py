"""A LoRAX server dies or freezes, or the way to it breaks, under a running job."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client, JobState, ServerState

from tests.end_to_end.job_story import submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.proxy import Proxy
from tests.faults.running_job import SLOW
from tests.faults.scenarios.witness import calls
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)

SETTINGS = "stall_after_s = 1.0\n"
"""What waits longer than this: `/health` has 30 s to answer, and chunks wait 15 s for a server that is gone."""
ROWS = 1_200


@pytest.fixture(scope="module")
def steady() -> Iterator[Simulator]:
    with Simulator(*SLOW) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def doomed() -> Iterator[Simulator]:
    with Simulator(*SLOW) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def proxy(doomed: Simulator) -> Iterator[Proxy]:
    with Proxy(doomed.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def service(postgres_directory: Path, steady: Simulator, proxy: Proxy) -> Iterator[Service]:
    directory = postgres_directory / "lorax-server-faults"
    directory.mkdir(mode=0o755)
    config = directory / "settings.toml"
    config.write_text(SETTINGS, encoding="utf-8")
    service = Service(directory, steady.url, proxy.url, arguments=("--config", str(config)))
    service.start()
    yield service
    try:
        assert service.stop() == 0
    finally:
        service.close()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.client() as client:
        yield client


@pytest.fixture(autouse=True)
def _healed(service: Service, client: Client, proxy: Proxy) -> Iterator[None]:
    start = service.log.stat().st_size
    wait_both_ready(client)
    yield
    proxy.heal()
    print(proxy)
    print(service.log.read_text()[start:][-6_000:])


class HalfDone:
    """A job of which the doomed server has answered rows and has rows in flight."""

    def __init__(self, client: Client, doomed: Simulator, tag: str) -> None:
        self.rows = make_rows(tag, ROWS, adapters=("", "org/a", "org/b", "org/c"))
        self._client = client
        before = doomed.ask("stats")["rows_answered"]
        self._story = submit(client, self.rows)
        poll_until(lambda: doomed.ask("stats")["rows_answered"], lambda count: count > before)

    def finish(self, folder: Path) -> None:
        """Check that every row has one result, and that none failed."""
        begin = time.monotonic()
        job = self._story.finish()
        print(f"ended {time.monotonic() - begin:.2f} s after the fault")
        assert job.state is JobState.SUCCEEDED
        assert job.counts.succeeded == ROWS
        check_all_rows(download_files(self._client, job, folder), self.rows)


def test_connections_to_a_server_are_cut(client: Client, doomed: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """Rows whose connection was reset are asked for again, at no attempt's cost."""
    job = HalfDone(client, doomed, "cut")
    assert proxy.cut() > 0
    job.finish(tmp_path)


@pytest.mark.long
def test_a_server_answers_late(client: Client, doomed: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """A slow line slows one server down, and the other takes what it does not manage."""
    job = HalfDone(client, doomed, "late")
    proxy.delay(0.2)
    job.finish(tmp_path)
    assert proxy.hits.delayed_blocks > 0


def test_a_servers_line_is_narrow(client: Client, doomed: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """A line of 20 KB a second slows one server down, and no row is lost."""
    job = HalfDone(client, doomed, "narrow")
    proxy.throttle(20_000)
    job.finish(tmp_path)
    assert proxy.hits.throttled_blocks > 0


@pytest.mark.long
def test_a_server_is_behind_a_black_hole(client: Client, doomed: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """Rows that a silent server keeps are taken from it and run elsewhere, while it is still silent."""
    job = HalfDone(client, doomed, "black hole")
    proxy.black_hole()
    job.finish(tmp_path)
    assert proxy.hits.swallowed_bytes > 0


@pytest.mark.long
def test_a_server_is_frozen(client: Client, steady: Simulator, doomed: Simulator, tmp_path: Path) -> None:
    """Rows that a frozen server keeps are taken from it and run elsewhere, while it is still frozen."""
    job = HalfDone(client, doomed, "frozen")
    os.kill(doomed.pid, signal.SIGSTOP)
    try:
        poll_until(lambda: process_state(doomed.pid), lambda state: state == "T")
        job.finish(tmp_path)
        assert process_state(doomed.pid) == "T", "it was thawed before the job had ended"
    finally:
        os.kill(doomed.pid, signal.SIGCONT)
    # What the frozen server had in its hands was sent again, to the other one.
    assert calls("frozen", steady, doomed).total() > ROWS


@pytest.mark.long
def test_a_server_is_killed(client: Client, proxy: Proxy, tmp_path: Path) -> None:
    """Rows of a killed server run elsewhere, at no attempt's cost."""
    with Simulator(*SLOW) as victim:
        before = proxy.redirect(victim.url)
        wait_both_ready(client)
        job = HalfDone(client, victim, "killed")
        os.kill(victim.pid, signal.SIGKILL)
        job.finish(tmp_path)
        proxy.redirect(before)
    assert proxy.hits.unreachable > 0


def wait_both_ready(client: Client) -> None:
    def states() -> list[ServerState]:
        return [server.state for server in client.list_servers()]

    poll_until(states, lambda found: found == [ServerState.READY] * 2)


def process_state(pid: int) -> str:
    """Return the letter by which the kernel names what a process does: T when it was stopped."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
