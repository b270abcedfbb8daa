"""Processes behind a gate, watched with and without pidfd."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lorax_batch_scheduler.server_hosts.command.process import (
    GatedProcess,
    ServerProcess,
    exit_status,
    is_alive,
    kill_all,
)


@pytest.mark.parametrize("use_pidfd", [True, False])
async def test_an_ended_process_tells_its_status(use_pidfd: bool) -> None:
    gated = GatedProcess(["/bin/sh", "-c", "exit 3"], {}, subprocess.DEVNULL)
    process = ServerProcess.attach(gated.identity, use_pidfd=use_pidfd)
    assert process is not None
    gated.open()
    assert await process.wait() == 3
    process.close()
    assert ServerProcess.attach(gated.identity) is None


def test_the_status_of_one_that_ended_before_anybody_watched_it_is_not_lost() -> None:
    gated = GatedProcess(["/bin/sh", "-c", "exit 3"], {}, subprocess.DEVNULL)
    assert exit_status(gated.identity) is None
    gated.open()
    os.waitid(os.P_PID, gated.identity.pid, os.WEXITED | os.WNOWAIT)
    assert ServerProcess.attach(gated.identity) is None
    assert exit_status(gated.identity) == 3
    assert exit_status(gated.identity) is None


@pytest.mark.parametrize("use_pidfd", [True, False])
async def test_a_terminated_process_tells_its_signal(use_pidfd: bool) -> None:
    gated = GatedProcess(["sleep", "600"], dict(os.environ), subprocess.DEVNULL)
    process = ServerProcess.attach(gated.identity, use_pidfd=use_pidfd)
    assert process is not None
    gated.open()
    process.terminate()
    assert await process.wait() == -15
    process.terminate()
    process.close()


def test_a_gate_that_nobody_opens_lets_nothing_through(tmp_path: Path) -> None:
    gated = GatedProcess(["touch", str(tmp_path / "ran")], dict(os.environ), subprocess.DEVNULL)
    assert is_alive(gated.identity)
    gated.close()
    assert not is_alive(gated.identity)
    assert not (tmp_path / "ran").exists()


def test_whoever_dies_before_opening_the_gate_leaves_nothing_behind(tmp_path: Path) -> None:
    owner = (
        "import os, subprocess, sys; from lorax_batch_scheduler.server_hosts.command.process import GatedProcess; "
        "gated = GatedProcess(['touch', sys.argv[1]], dict(os.environ), subprocess.DEVNULL); "
        "print(gated.identity.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", owner, str(tmp_path / "ran")], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -9
    pid = int(done.stdout)
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        pass
    assert not (tmp_path / "ran").exists()


async def test_killing_all_reaches_process_groups_of_their_own(tmp_path: Path) -> None:
    gated = GatedProcess(["/bin/bash", "-mc", "sleep 600 & sleep 600"], dict(os.environ), subprocess.DEVNULL)
    process = ServerProcess.attach(gated.identity)
    assert process is not None
    gated.open()
    assert await kill_all(gated.identity, timeout_s=10)
    assert await process.wait() == -9
    process.close()
