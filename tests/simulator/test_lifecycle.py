"""Start, abort, cold restart and stop, and the process around them."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import aiohttp
import pytest
from lorax_simulator.options import parser, server_options

from tests.simulator.conftest import chat_body

RUN = [sys.executable, "-m", "lorax_simulator", "--port", "0", "--time-scale", "0", "--exit-with-parent"]


async def _is_refused(simulator):
    try:
        await simulator.get("/info")
    except aiohttp.ClientConnectorError:
        return True
    except aiohttp.ClientConnectionError:
        return False
    return False


async def _until_it_answers(simulator):
    while await _is_refused(simulator):
        pass  # each try is a round trip through the event loop


async def test_an_abort_resets_rows_refuses_for_the_cold_start_and_comes_back_cold(simulate):
    simulator = await simulate("--time-scale", "0.02", "--cold-start", "10")
    assert (await simulator.chat(model="org/a")).status == 200
    assert (await simulator.stats())["adapters"]["org/a"] == "ready"
    lost = asyncio.ensure_future(simulator.chat(max_tokens=4000, ignore_eos_token=True))
    while not (await simulator.stats())["running"]:
        pass
    assert (await simulator.post("/_simulator/abort")).json == {"aborted": True}
    with pytest.raises(aiohttp.ClientConnectionError):
        await lost
    assert await _is_refused(simulator)
    await _until_it_answers(simulator)
    stats = await simulator.stats()
    assert (stats["restarts"], stats["adapters"], stats["adapter_loads"]) == (1, {}, 1)
    assert "lorax_request_success" not in (await simulator.get("/metrics")).text
    assert (await simulator.chat(model="org/a")).status == 200
    assert (await simulator.stats())["adapter_loads"] == 2


async def test_an_abort_after_so_many_answers(simulate):
    simulator = await simulate("--fault", "router-abort=3", "--cold-start", "0")
    statuses: list[int] = []
    while len(statuses) < 7:
        try:
            statuses.append((await simulator.chat()).status)
        except aiohttp.ClientConnectionError:
            statuses.append(0)
    assert statuses.count(200) >= 3
    await _until_it_answers(simulator)
    assert (await simulator.stats())["restarts"] >= 1


async def test_a_stop_lets_rows_in_flight_finish(simulate):
    simulator = await simulate("--time-scale", "0.01", "--grace", "5")
    row = asyncio.ensure_future(simulator.chat(max_tokens=500, ignore_eos_token=True))
    while not (await simulator.stats())["running"]:
        pass
    simulator.app.stop()
    assert (await row).status == 200


async def test_pipelined_requests_are_answered_in_order_on_one_connection(simulate):
    simulator = await simulate()
    reader, writer = await asyncio.open_connection(simulator.session._base_url.host, simulator.session._base_url.port)
    request = b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    writer.write(request * 50 + last)
    answered = await reader.read(-1)
    assert answered.count(b"HTTP/1.1 404 Not Found") == 50
    assert answered.rstrip().endswith(b"}")
    writer.close()
    await writer.wait_closed()


async def test_garbage_on_the_wire_is_a_400(simulate):
    simulator = await simulate()
    reader, writer = await asyncio.open_connection(simulator.session._base_url.host, simulator.session._base_url.port)
    writer.write(b"this is not http\r\n\r\n")
    assert (await reader.read(-1)).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()


async def test_the_process_announces_its_url_answers_and_ends_on_sigterm(tmp_path):
    log, arrivals = tmp_path / "requests.jsonl", tmp_path / "arrivals"
    process = await asyncio.create_subprocess_exec(
        *RUN,
        *("--request-log", str(log), "--arrival-log", str(arrivals)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().strip()
            async with (
                aiohttp.ClientSession(url) as session,
                session.post("/v1/chat/completions", json=chat_body("row-5")) as response,
            ):
                assert response.status == 200
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
    (call,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (call["key"], call["status"], call["path"]) == ("row-5", 200, "/v1/chat/completions")
    (arrival,) = arrivals.read_text().splitlines()
    seconds, key = arrival.split()
    assert key == "row-5"
    assert float(seconds) <= call["time"]


async def test_the_process_ends_when_its_parent_dies():
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)\n"
        "print(child.pid, child.stdout.readline().strip(), flush=True)\n"
        "time.sleep(60)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, *RUN, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        pid, url = (await process.stdout.readline()).decode().split()
        process.kill()
        await process.wait()
        async with aiohttp.ClientSession(url) as session:
            while True:
                try:
                    async with session.get("/info"):
                        pass
                except aiohttp.ClientConnectionError:
                    break
    assert url.startswith("http://127.0.0.1:")
    assert int(pid) != os.getpid()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "nonsense"],
        ["--time-scale", "fast"],
        ["--max-total-tokens", "0"],
        ["--gpu", "abacus"],
        ["--marker", "("],
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_why(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_taken_port_is_said_and_exits_with_1():
    with asyncio.Runner() as runner:
        server = runner.run(asyncio.start_server(lambda *_: None, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "lorax_simulator", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        server.close()
        runner.run(server.wait_closed())
    assert ended.returncode == 1
    assert str(port) in ended.stderr


@pytest.mark.parametrize(("text", "scale"), [("1/50", 0.02), ("0.5", 0.5), ("0", 0.0)])
def test_the_time_scale_is_a_number_or_a_fraction(text, scale):
    assert server_options(parser().parse_args(["--time-scale", text])).scale == scale
