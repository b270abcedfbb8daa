import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lorax_batch_server.cli.child import ChildProcess
from lorax_batch_server.cli.reporting_group import CommandError

CHILD = """
import signal
print("http://127.0.0.1:4711", flush=True)
signal.pause()
"""
# Starts a child that never ends by itself, tells its pid, and waits to be killed.
PARENT = """
import pathlib, signal, sys
from lorax_batch_server.cli.child import ChildProcess
child = ChildProcess("waiting", [], pathlib.Path(sys.argv[1]), has_output=True)
child.read_line(20)
print(child.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "waiting.py").write_text(CHILD)
    (tmp_path / "failing.py").write_text("import sys; sys.exit('the port is taken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_tells_that_it_is_ready_and_is_stopped(modules: Path):
    with ChildProcess("waiting", [], modules / "log", has_output=True) as child:
        assert child.read_line(20) == "http://127.0.0.1:4711"
        assert is_alive(child.pid)
    assert not is_alive(child.pid)


def test_a_child_that_fails_is_reported_with_its_last_words(modules: Path):
    with (
        ChildProcess("failing", [], modules / "log", has_output=True) as child,
        pytest.raises(CommandError, match=r"failing ended with status 1:\nthe port is taken"),
    ):
        child.read_line(20)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of the parent's death on Linux only")
async def test_a_child_dies_with_a_parent_that_is_killed(modules: Path):
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(modules / "log"), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    watch = os.pidfd_open(pid)
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(watch, gone.set)
    try:
        parent.send_signal(signal.SIGKILL)
        await asyncio.wait_for(gone.wait(), 20)
    finally:
        loop.remove_reader(watch)
        os.close(watch)
        await parent.wait()
    assert not is_alive(pid)
