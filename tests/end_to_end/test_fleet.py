"""The fleet as an operator sees it: a real service, a simulated server with a job on it, commands as processes."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest
from lorax_batch_client import Client, FleetSnapshot, ServerState

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)

SLOW = ("--time-scale", "0.5", "--max-concurrent-requests", "16")
MODEL = "mistral-7b-instruct-v0-2"


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service]) -> Iterator[Service]:
    with Simulator(*SLOW) as simulator:
        yield serve(simulator.url)


@pytest.fixture
def job(client: Client) -> Iterator[JobStory]:
    """Yield a job that runs for longer than the test, and end it."""
    job = submit(client, make_rows("long", 3_000, adapters=("org/a",)))
    job.until_ended_rows(1)
    yield job
    client.cancel_job(job.job_id)
    job.finish()


def command(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lorax_batch_server", "fleet", *arguments, "--target", service.target],
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_top_shows_the_slot_its_load_and_the_queue(service: Service, client: Client, job: JobStory) -> None:
    poll_until(
        lambda: next(client.list_servers()), lambda server: bool(server.warm_adapters and server.rows_per_second)
    )
    ended = command(service, "top", "--once")
    assert (ended.returncode, ended.stderr) == (0, "")
    totals, _, _, slot, _, _, queue = ended.stdout.splitlines()
    assert totals.startswith("1 slot, 1 server (1 ready), ")
    (server,) = client.list_servers()
    name, model, state, load, rows_per_second, tokens_per_second, warm, *_ = slot.split()
    assert (name, model, state) == (server.slot_id, MODEL, "ready")
    assert 0 < int(load.split("/")[0]) <= 16
    assert float(rows_per_second) > 0
    assert int(tokens_per_second.replace(",", "")) > 0
    assert int(warm) >= 1
    base_model, servers, running, queued, rows_left, tokens_left = queue.split()
    assert (base_model, servers, running, queued) == (MODEL, "1", "1", "0")
    assert 0 < int(rows_left.replace(",", "")) < 3_000
    assert int(tokens_left.replace(",", "")) > int(rows_left.replace(",", ""))


def test_a_slot_is_drained_watched_and_put_back(service: Service, client: Client) -> None:
    (slot,) = client.list_slots()
    watching = subprocess.Popen(
        [sys.executable, "-m", "lorax_batch_server", "fleet", "watch", "--json", "--target", service.target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    snapshot = json.loads(watching.stdout.readline())
    assert (snapshot["event"], snapshot["slots"][0]["slot_id"]) == ("fleet_snapshot", slot.slot_id)
    drained = command(service, "drain", slot.slot_id, "--reason", "new driver")
    assert (drained.returncode, drained.stderr) == (0, "")
    while not (event := json.loads(watching.stdout.readline())).get("slot", {}).get("drained"):
        pass
    assert event["slot"]["drain_reason"] == "new driver"
    assert "new driver" in command(service, "slots").stdout
    unknown = command(service, "drain", slot.slot_id + "x")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert f"was {slot.slot_id} meant?" in unknown.stderr
    assert command(service, "undrain", slot.slot_id).stdout == f"{slot.slot_id} is in service\n"
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=30)
    assert (watching.returncode, said) == (130, "")


def read_screen(terminal: int, word: str) -> None:
    """Return when a terminal has shown a word; fail with what it has shown when nothing more comes."""
    screen, deadline = b"", time.monotonic() + 30
    while word.encode() not in screen:
        left_s = deadline - time.monotonic()
        assert left_s > 0, f"no '{word}' in {screen[-3000:]!r}"
        if select.select([terminal], [], [], left_s)[0]:
            screen += os.read(terminal, 65_536)


def test_top_is_live_in_a_terminal_until_ctrl_c(service: Service, client: Client) -> None:
    (slot,) = client.list_slots()
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
    top = subprocess.Popen(
        [sys.executable, "-m", "lorax_batch_server", "fleet", "top", "--target", service.target],
        stdin=its,
        stdout=its,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "30"},
        start_new_session=True,
    )
    os.close(its)
    try:
        read_screen(ours, slot.slot_id)
        client.drain_slot(slot, reason="fan is loud")
        read_screen(ours, "drained")
        top.send_signal(signal.SIGINT)
        _, said = top.communicate(timeout=30)  # nobody reads the terminal any more, and it is not waited for
        assert (top.returncode, said) == (0, b"")
    finally:
        top.kill()
        os.close(ours)
        client.undrain_slot(slot)


def test_a_watch_and_a_drain_outlive_a_restart_of_the_service(service: Service, client: Client) -> None:
    watch = client.watch_fleet()
    first = next(watch)
    assert isinstance(first, FleetSnapshot)
    slot_id = first.slots[0].slot_id
    client.drain_slot(slot_id, reason="new driver")
    assert service.stop() == 0
    service.start()
    fleet = first
    for event in watch:
        fleet = fleet.after(event)
        if any(server.state is ServerState.DRAINED for server in fleet.servers) and fleet.slots:
            break
    (away,) = fleet.servers
    assert away.reason == f"drained: new driver; `lorax-batch fleet undrain {slot_id}` puts it back"
    assert [(slot.drained, slot.drain_reason) for slot in fleet.slots] == [(True, "new driver")]
    assert not client.undrain_slot(slot_id).drained
    for event in watch:
        fleet = fleet.after(event)
        if any(server.state is ServerState.READY for server in fleet.servers):
            break
