"""The demo as a newcomer starts it: three jobs on servers that the service starts itself."""

import asyncio
import re
import signal
import sys
from pathlib import Path

from lorax_batch_server.cli.demo_jobs import DEMO_JOBS

ROWS = 300
NAMES = [job.name for job in DEMO_JOBS]


async def start_demo(directory: Path, time_scale: float) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    words = ["demo", "--rows", str(ROWS), "--time-scale", str(time_scale)]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lorax_batch_server", *words, stdout=pipe, stderr=pipe, cwd=directory
    )


async def read_until(demo: asyncio.subprocess.Process, word: bytes) -> None:
    assert demo.stderr is not None
    async with asyncio.timeout(60):
        while word not in (line := await demo.stderr.readline()):
            assert line, "it ended before that"


def custom_ids(*paths: Path) -> list[str]:
    """Return the ids of all lines, also of one that is no JSON."""
    return sorted(name for path in paths for name in re.findall(r'"custom_id": ?"([^"]+)"', path.read_text()))


def left_behind(directory: Path) -> list[str]:
    """Return the command lines of processes that name the directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has just ended
        if any(str(directory) in word for word in words):
            found.append(" ".join(words))
    return found


async def test_the_demo_runs_three_jobs_and_tells_what_sharing_servers_has_saved(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path, 0.02)
    said = await asyncio.wait_for(demo.communicate(), 90)
    out, err = (part.decode() for part in said)
    assert demo.returncode == 0, err
    assert out.count("succeeded:") == 3
    assert err.index("on purpose") < err.index("1 failed"), "explained before it is shown"
    assert [line.split(", ")[2] for line in out.splitlines() if "succeeded:" in line] == [
        "1 failed", "2 failed", "2 failed",
    ]  # fmt: skip
    assert "USD" in out
    for name in NAMES:
        folder = tmp_path / "demo" / name
        ended = custom_ids(folder / "results.jsonl", folder / "errors.jsonl")
        assert ended == custom_ids(folder / "dataset.jsonl")
    table = out[out.index("SERVERS AND ADAPTERS") :].splitlines()[1:4]
    measured, planned, alone = (
        [int(n) for n in re.findall(r"  +(\d+)  ", line.replace("  ", "   "))] for line in table
    )
    # On a slow machine jobs come later after each other, and a server may be stopped and started again between them.
    assert 2 <= planned[0] <= measured[0] <= 3, "a server for each base model"
    assert measured[1] >= planned[1] == 8
    assert alone[0] >= planned[0]
    assert alone[1] >= planned[1]
    assert left_behind(tmp_path) == []


async def test_ctrl_c_ends_the_demo_and_leaves_only_the_datasets(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path, 0.02)
    await read_until(demo, b"running")
    assert left_behind(tmp_path), "its servers are there"
    demo.send_signal(signal.SIGINT)
    said = await asyncio.wait_for(demo.communicate(), 60)
    out, err = (part.decode() for part in said)
    assert (demo.returncode, "Traceback" in out + err) == (130, False)
    assert "nothing is left running" in err
    left = sorted(str(path.relative_to(tmp_path / "demo")) for path in (tmp_path / "demo").glob("**/*.*"))
    assert left == sorted(f"{name}/dataset.jsonl" for name in NAMES)
    assert left_behind(tmp_path) == []
