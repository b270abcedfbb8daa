"""The commands as a user starts them: real processes, a real service, simulated LoRAX servers."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from lorax_batch_scheduler.testing.sample import write_sample

from tests.processes import Service, write_rows

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


@pytest.fixture
async def silent_url() -> AsyncIterator[str]:
    """A server that answers chats and tells nothing of itself."""

    async def chat(_: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        return web.json_response({"object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("model", ["someone/unknown-405b", "llama-3-70b"])
async def test_a_run_takes_any_model_on_a_server_that_tells_nothing(
    tmp_path: Path, silent_url: str, model: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LORAX_BATCH_DATABASE_URL", "postgresql://of@127.0.0.1:1/another_service")
    write_rows(tmp_path / "in.jsonl", 5)
    arguments = ("run", "in.jsonl", "-o", "out.jsonl", "--server", silent_url, "--base-model", model)
    code, _, err = await end(await start("lorax_batch_server", *arguments, directory=tmp_path))
    assert code == 0, err
    assert len(custom_ids(tmp_path / "out.jsonl")) == 5


async def test_a_run_with_a_wrong_server_url_ends_with_2_and_leaves_nothing(tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", 1)
    arguments = ("run", "in.jsonl", "-o", "out.jsonl", "--server", "ftp://gpu")
    code, _, err = await end(await start("lorax_batch_server", *arguments, directory=tmp_path))
    assert (code, len(err.splitlines())) == (2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


async def test_a_run_of_a_bad_dataset_ends_with_2_and_its_report(tmp_path: Path, server_url: str):
    (tmp_path / "in.jsonl").write_text("{\n")
    arguments = ("run", "in.jsonl", "-o", "out.jsonl", "--server", server_url)
    code, out, _ = await end(await start("lorax_batch_server", *arguments, directory=tmp_path))
    assert code == 2
    assert "invalid_json_line: 1 line\n" in out
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def serve_in_vain(directory: Path, *arguments: object) -> str:
    """Return the one line with which a service that can't start ends."""
    options = ("--data-dir", directory / "data", "--log-level", "warning")
    code, out, err = await end(await start("lorax_batch_server", "serve", *options, *arguments, directory=directory))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    return err


async def test_a_service_with_a_wrong_setting_says_which_and_ends_with_2(tmp_path: Path):
    assert "listen" in await serve_in_vain(tmp_path, "--listen", "nowhere")


async def test_a_service_whose_port_is_taken_says_so_in_one_line(tmp_path: Path, taken_port: int):
    said = await serve_in_vain(tmp_path, "--listen", f"127.0.0.1:{taken_port}")
    assert f"can't listen on 127.0.0.1:{taken_port}: the port is taken" in said


async def test_a_service_whose_metrics_port_is_taken_says_so_in_one_line(tmp_path: Path, taken_port: int):
    said = await serve_in_vain(tmp_path, "--listen", "localhost:0", "--metrics-port", taken_port)
    assert "choose another port with --metrics-port" in said


async def test_a_service_open_to_other_machines_is_refused_in_one_line(tmp_path: Path):
    assert "--allow-insecure" in await serve_in_vain(tmp_path, "--listen", "0.0.0.0:0")


async def test_an_object_store_that_does_not_answer_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    url = "s3://bucket?endpoint=http://127.0.0.1:1&region=us-east-1&path_style=true"
    said = await serve_in_vain(tmp_path, "--listen", "localhost:0", "--object-store", url)
    assert "S3 can't be reached" in said
    assert "--object-store" in said


async def test_a_database_that_does_not_answer_is_told_in_one_line(tmp_path: Path):
    url = "postgresql://user@127.0.0.1:1/database"
    said = await serve_in_vain(tmp_path, "--listen", "localhost:0", "--database-url", url)
    assert "PostgreSQL can't be used" in said
    assert "Error(" not in said


async def test_health_tells_of_a_service_that_serves_and_of_one_that_does_not(tmp_path: Path):
    with Service(tmp_path) as service:
        target = service.target
        code, out, err = await end(await start("lorax_batch_server", "health", "--target", target, directory=tmp_path))
        assert (code, out, err) == (0, f"{target} is serving\n", "")
    code, out, err = await end(await start("lorax_batch_server", "health", "--target", target, directory=tmp_path))
    assert (code, out, len(err.splitlines())) == (3, "", 1)


async def test_an_upload_makes_no_noise_in_the_log_of_the_service(tmp_path: Path):
    write_sample(tmp_path / "in.jsonl", ROWS, 1)
    with Service(tmp_path) as service:
        arguments = ("datasets", "upload", "in.jsonl", "--on-invalid", "skip", "--target", service.target)
        code, _, err = await end(await start("lorax_batch_server", *arguments, directory=tmp_path))
        assert (code, err) == (0, "")
        lines = service.log.read_text().splitlines()
    assert [line for line in lines if not line.startswith(("{", "listening on"))] == []
