"""The commands as a user starts them: real processes, a real service, simulated LoRAX servers."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lorax_batch_scheduler.testing.sample import write_sample

ROWS = 120


async def start(module: str, *arguments: object, directory: Path) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    words = [str(argument) for argument in arguments]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, stdout=pipe, stderr=pipe, cwd=directory
    )


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 90)
    return process.returncode, out.decode(), err.decode()


async def read_until(process: asyncio.subprocess.Process, word: bytes) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while word not in (line := await process.stderr.readline()):
            assert line, "it ended before that"


def custom_ids(*paths: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for path in paths for line in path.read_text().splitlines()]


@pytest.fixture
async def server_url(tmp_path: Path) -> AsyncIterator[str]:
    options = ("--port", 0, "--time-scale", 0.1, "--exit-with-parent")
    simulator = await start("lorax_simulator", *options, directory=tmp_path)
    assert simulator.stdout is not None
    yield (await simulator.stdout.readline()).decode().strip()
    simulator.terminate()
    await simulator.communicate()


async def test_the_demo_ends_with_every_row_in_one_of_its_files(tmp_path: Path):
    demo = await start("lorax_batch_server", "demo", "--rows", ROWS, "--time-scale", 0.05, directory=tmp_path)
    code, out, err = await end(demo)
    assert code == 0, err
    assert "demo/results.jsonl" in out
    assert "USD" in out
    files = [tmp_path / "demo" / name for name in ("results.jsonl", "errors.jsonl")]
    assert sorted(custom_ids(*files)) == sorted(custom_ids(tmp_path / "demo" / "dataset.jsonl"))


async def test_ctrl_c_ends_the_demo_and_leaves_only_the_sample(tmp_path: Path):
    demo = await start("lorax_batch_server", "demo", "--rows", ROWS, "--time-scale", 1, directory=tmp_path)
    await read_until(demo, b"running")
    demo.send_signal(signal.SIGINT)
    code, out, err = await end(demo)
    assert (code, "Traceback" in out + err) == (130, False)
    assert "nothing is left running" in err
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["dataset.jsonl"]


async def test_a_run_that_is_killed_goes_on_and_repeats_no_row(tmp_path: Path, server_url: str):
    write_sample(tmp_path / "in.jsonl", ROWS, 1)
    arguments = ("run", "in.jsonl", "-o", "out.jsonl", "--server", server_url)
    killed = await start("lorax_batch_server", *arguments, directory=tmp_path)
    await read_until(killed, b"running")
    killed.kill()
    await killed.communicate()
    code, _, err = await end(await start("lorax_batch_server", *arguments, directory=tmp_path))
    assert code == 0, err
    found = custom_ids(tmp_path / "out.jsonl", tmp_path / "out.errors.jsonl")
    assert sorted(found) == sorted(custom_ids(tmp_path / "in.jsonl"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.errors.jsonl", "out.jsonl"]


async def test_a_run_of_a_bad_dataset_ends_with_2_and_its_report(tmp_path: Path, server_url: str):
    (tmp_path / "in.jsonl").write_text("{\n")
    arguments = ("run", "in.jsonl", "-o", "out.jsonl", "--server", server_url)
    code, out, _ = await end(await start("lorax_batch_server", *arguments, directory=tmp_path))
    assert code == 2
    assert "invalid_json_line: 1 lines" in out
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


async def test_a_service_that_can_not_start_says_why_and_ends_with_2(tmp_path: Path):
    service = await start("lorax_batch_server", "serve", "--listen", "nowhere", directory=tmp_path)
    code, _, err = await end(service)
    assert code == 2
    assert "listen" in err
    assert "Traceback" not in err
