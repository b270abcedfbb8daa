"""Failpoints: nothing of them is left unless they are armed, and then they do what was asked, when it was asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.failpoints import KNOWN, LOG_VARIABLE, VARIABLE, failpoint, parse
from lorax_batch_scheduler.scheduling.committer import Committer

PROGRAM = """
import asyncio
from lorax_batch_scheduler.failpoints import failpoint

@failpoint(before="before.async", after="after.async")
async def wait():
    print("waited", flush=True)

@failpoint(before="before.call", after="after.call")
def call():
    print("called", flush=True)

call()
asyncio.run(wait())
call()
asyncio.run(wait())
print("ended")
"""


def run(armed: str, log: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, VARIABLE: armed, LOG_VARIABLE: str(log)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_an_unarmed_function_stays_as_it_is() -> None:
    def function() -> None: ...

    name = f"unit.{function.__qualname__}.once"
    assert failpoint(before=name)(function) is function
    assert "function" in KNOWN.pop(name)


def test_two_moments_of_one_name_are_refused() -> None:
    assert Committer.__name__ in KNOWN["run.after_commit"]
    with pytest.raises(ValueError, match=r"run\.after_commit stands at .*Committer"):
        failpoint(before="run.after_commit")(print)


@pytest.mark.parametrize(
    ("armed", "lines"),
    [
        ("before.call=kill", []),
        ("after.call=kill", ["called"]),
        ("before.async=kill", ["called"]),
        ("after.async=kill", ["called", "waited"]),
        ("after.call=kill@2", ["called", "waited", "called"]),
        ("before.async=kill@2", ["called", "waited", "called"]),
    ],
)
def test_a_process_dies_where_it_was_asked_to(armed: str, lines: list[str], tmp_path: Path) -> None:
    log = tmp_path / "fired"
    done = run(armed, log)
    assert done.returncode == -9
    assert done.stdout.split() == lines
    assert log.read_text() == f"failpoint {armed.partition('=')[0]} fired: kill\n"


def test_an_error_is_raised_that_nothing_expects(tmp_path: Path) -> None:
    done = run("after.async=error", tmp_path / "fired")
    assert done.returncode == 1
    assert "FailpointError: after.async" in done.stderr


def test_a_hold_ends_when_its_file_is_there(tmp_path: Path) -> None:
    open_already = tmp_path / "go"
    open_already.touch()
    done = run(f"after.async=hold:{open_already},before.call=hold:{open_already}@2", tmp_path / "fired")
    assert done.stdout.split()[-1] == "ended"
    assert (tmp_path / "fired").read_text().count("after.async") == 2


@pytest.mark.parametrize("text", ["run", "run=", "run=explode", "run=kill@0", "run=hold", "run=kill@x"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not NAME="):
        parse(text)


def test_a_service_refuses_a_name_that_stands_nowhere(tmp_path: Path) -> None:
    environment = {**os.environ, VARIABLE: "run.nowhere=kill"}
    command = [sys.executable, "-m", "lorax_batch_server", "serve", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "there is no 'run.nowhere'" in done.stderr
    assert "finalise.after_part" in done.stderr
