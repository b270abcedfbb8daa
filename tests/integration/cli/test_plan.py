"""`lorax-batch plan`: no service is asked."""

import asyncio
import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.integration.cli.conftest import Command
from tests.unit.traces.small_trace import encoded, small_tree


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.json"
    path.write_bytes(encoded(small_tree()))
    return path


async def test_policies_stand_side_by_side(command: Command, trace: Path):
    ended = await command("plan", trace, "--policy", "setup_aware_fair", "--policy", "ffd")
    assert (ended.exit_code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "small: 2 jobs, 70 rows, 2 slots, 2 server configurations"
    assert lines[2].split() == ["setup_aware_fair", "ffd"]
    labels = ("makespan", "p95 slowdown", "deadlines missed", "cold starts", "adapter loads", "GPU-seconds used")
    for label in labels:
        assert any(line.startswith(label) and len(line.split()) == len(label.split()) + 2 for line in lines), label


async def test_without_a_policy_the_services_planner_plans(command: Command, trace: Path):
    ended = await command("plan", trace, "--json")
    (report,) = ended.objects
    assert [run["policy"] for run in report["policies"]] == ["setup_aware_fair"]
    assert report["policies"][0]["measures"]["makespan_ratio"] >= 1
    assert report["bounds"]["makespan_s"] > 0


async def test_all_stands_for_every_policy(command: Command, trace: Path):
    ended = await command("plan", trace, "--json", "--policy", "all")
    assert len(ended.objects[0]["policies"]) == 4


async def test_missed_deadlines_are_listed(command: Command, tmp_path: Path):
    tree = small_tree()
    tree["jobs"][0]["deadline_s"] = 30
    (tmp_path / "late.json").write_bytes(encoded(tree))
    ended = await command("plan", tmp_path / "late.json")
    assert "setup_aware_fair misses 1 deadline" in ended.stdout
    assert "  j0: " in ended.stdout


async def test_the_picture_is_written(command: Command, trace: Path, tmp_path: Path):
    ended = await command("plan", trace, "--plot", tmp_path / "picture.svg")
    assert ended.exit_code == 0
    assert ET.parse(tmp_path / "picture.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere/picture.svg", "nowhere/picture.svg' can't be written: there is no folder"),
        (".", "is a folder: name a file in it"),
    ],
)
async def test_a_picture_that_cannot_be_written_is_told_before_anything_is_replayed(
    command: Command, tmp_path: Path, place: str, said: str
):
    ended = await command("plan", tmp_path / "not-read.json", "--plot", tmp_path / place)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("lorax-batch: --plot: '")
    assert said in ended.stderr


async def test_what_a_terminal_would_obey_is_shown_instead(command: Command, tmp_path: Path):
    tree = small_tree()
    tree["jobs"][0]["family"] = "a\x1b[31mb\nc\u202e"
    (tmp_path / "red.json").write_bytes(encoded(tree))
    ended = await command("plan", tmp_path / "red.json")
    assert r"'a\x1b[31mb\nc\u202e' is no family" in ended.stderr
    assert ended.stderr.count("\n") == 1


async def test_a_wrong_trace_leaves_no_picture(command: Command, tmp_path: Path):
    tree = small_tree()
    tree["jobs"][0]["family"] = "h"
    (tmp_path / "wrong.json").write_bytes(encoded(tree))
    ended = await command("plan", tmp_path / "wrong.json", "--plot", tmp_path / "picture.svg")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("lorax-batch: trace.jobs[0].family: 'h' is no family of the trace")
    assert not (tmp_path / "picture.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.json",), "'nowhere.json' can't be read: No such file or directory"),
        (("{trace}", "--policy", "fifo"), "--policy: 'fifo' is no policy; "),
    ],
)
async def test_bad_arguments_end_with_two(command: Command, trace: Path, arguments: tuple[str, ...], said: str):
    ended = await command("plan", *(argument.format(trace=trace) for argument in arguments))
    assert ended.exit_code == 2
    assert said in ended.stderr


async def test_the_installed_command_reads_standard_input(trace: Path):
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "lorax_batch_server", "plan", "-", "--json")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(trace.read_bytes()), 30)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["trace"]["jobs"] == 2
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(b"{"), 30)
    assert (process.returncode, out) == (2, b"")
    assert b"line 1, column 2" in err
