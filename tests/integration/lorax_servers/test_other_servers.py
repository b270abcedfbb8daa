"""Servers that are no LoRAX, and what a probe learns of any server."""

import asyncio

import msgspec
import pytest
from lorax_batch_scheduler.errors import ConfigurationError, ServerUnreachableError
from lorax_batch_scheduler.fleet import ServerLimits, ServerState
from lorax_batch_scheduler.lorax_servers import Health, ServerAddress, ServerProbe

from tests.integration.lorax_servers.running import running
from tests.integration.lorax_servers.scripted_server import CLOSE, http_answer, scripted
from tests.rows import make_work
from tests.simulator.conftest import simulated

MODELS = b'{"object":"list","data":[{"id":"org/model","object":"model","max_model_len":8192}]}'


async def test_a_lorax_server_tells_its_limits():
    async with simulated("--max-concurrent-requests", "77") as simulator:
        probe = ServerProbe(simulator.app.url)
        limits = await probe.read_limits()
        assert limits.is_lorax
        assert (limits.max_concurrent_requests, limits.max_batch_total_tokens) == (77, 350_000)
        assert await probe.health() is Health.WELL
        await simulator.chat()
        assert await probe.rows_running() == 0


async def test_a_merely_busy_server_is_well():
    async with simulated("--fault", "health-overloaded") as simulator:
        assert await ServerProbe(simulator.app.url).health() is Health.BUSY
        assert Health.BUSY.well


async def test_an_openai_server_tells_its_model_only():
    async with scripted(lambda _: [http_answer()]) as server:
        server.pages["/v1/models"] = MODELS
        limits = await ServerProbe(server.url).read_limits()
        assert limits == ServerLimits(model_id="org/model", max_total_tokens=8192)
        assert await ServerProbe(server.url).health() is Health.WELL
        assert await ServerProbe(server.url).rows_running() is None


async def test_a_server_with_a_short_info_is_not_taken_for_lorax():
    async with scripted(lambda _: [http_answer()]) as server:
        server.pages["/info"] = b'{"model_id":"org/model","max_concurrent_requests":9}'
        limits = await ServerProbe(server.url).read_limits()
        assert (limits.is_lorax, limits.max_concurrent_requests) == (False, 9)


async def test_a_server_that_tells_nothing_has_no_model():
    async with scripted(lambda _: [http_answer()]) as server:
        assert (await ServerProbe(server.url).read_limits()).model_id == ""


async def test_a_server_that_is_not_there_is_named():
    async with scripted(lambda _: []) as server:
        url = server.url
    with pytest.raises(ServerUnreachableError, match=url):
        await ServerProbe(url).read_limits()
    assert await ServerProbe(url).health() is Health.SILENT


@pytest.mark.parametrize("url", ["ftp://h", "h:80", "http://", "http://h:0", "http://h:99999", "http://ü"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ConfigurationError, match="HOST"):
        ServerAddress.from_url(url)


async def test_an_openai_server_gets_its_models_name_and_its_request_ids_are_kept():
    async with scripted(lambda _: [http_answer(headers=b"x-request-id: req-9\r\n")]) as server:
        server.pages["/v1/models"] = MODELS
        async with running(server.url, make_work(30)) as run:
            await run.results(30)
            assert run.sink.lines["job", 1]["response"]["request_id"] == "req-9"
            assert run.sink.tokens == (90, 60)
            assert run.runner.status().in_flight_limit <= 32
        assert {msgspec.json.decode(request.body)["model"] for request in server.requests} == {"org/model"}


async def test_a_server_that_closes_after_every_answer_costs_no_row():
    async with (
        scripted(lambda _: [http_answer(headers=b"connection: close\r\n"), CLOSE]) as server,
        running(server.url, make_work(100)) as run,
    ):
        await run.results(100)
        assert run.sink.errors == {}
        assert server.connections >= 100


async def test_one_bad_answer_is_not_the_end_of_a_row():
    def script(request):
        return [http_answer(b"<html>busy</html>")] if request.number == 0 else [http_answer()]

    async with scripted(script) as server, running(server.url, make_work(5)) as run:
        await run.results(5)
        assert run.sink.errors == {}
        assert len(server.requests) == 6


async def test_retry_after_is_waited_for():
    times = []

    def script(request):
        times.append(asyncio.get_running_loop().time())
        if request.number == 0:
            return [http_answer(b"{}", status=b"429 Too Many Requests", headers=b"retry-after: 1\r\n")]
        return [http_answer()]

    async with scripted(script) as server, running(server.url, make_work(3), max_in_flight=1) as run:
        await run.results(3)
        assert run.sink.errors == {}
        assert times[1] - times[0] >= 0.99


async def test_a_gateway_without_its_server_is_left_alone_until_it_is_well():
    def script(request):
        if request.number < 4:
            return [http_answer(b"<html>", status=b"503 Service Unavailable")]
        return [http_answer()]

    async with scripted(script) as server, running(server.url, make_work(40)) as run:
        await run.until(lambda: run.runner.status().state is ServerState.SUSPECT)
        await run.results(40)
        assert run.sink.errors == {}
        assert run.runner.status().state is ServerState.READY
