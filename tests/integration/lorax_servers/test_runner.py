"""The runner against the simulated LoRAX: what becomes of rows when the server misbehaves."""

import msgspec
import pytest
from lorax_batch_scheduler.chunk import COMPLETIONS, GENERATE
from lorax_batch_scheduler.fleet import ServerLimits, ServerState
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.running.runner import RunnerSettings

from tests.integration.lorax_servers.running import running
from tests.integration.lorax_servers.scripted_server import Request, http_answer, scripted
from tests.rows import make_work
from tests.simulator.conftest import simulated


async def test_every_row_is_run_once_and_its_body_passed_through():
    async with simulated() as simulator, running(simulator.app.url, make_work(300)) as run:
        await run.results(300)
        line = run.sink.lines["job", 7]
        assert line["custom_id"] == "job-0-6"
        assert line["id"] == "batch_req_job_7"
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["body"]["choices"][0]["message"]["role"] == "assistant"
        stats = await simulator.stats()
        assert stats["rows_by_status"] == {"200": 300}
        assert run.sink.tokens == (stats["prompt_tokens"], stats["completion_tokens"])
        assert run.returned == []
        status = run.runner.status()
        assert (status.state, status.in_flight) == (ServerState.READY, 0)


@pytest.mark.parametrize("endpoint", [COMPLETIONS, GENERATE])
async def test_other_endpoints_run_too(endpoint):
    work = make_work(20, endpoint=endpoint, fields={"prompt": "hello", "messages": None})
    if endpoint == COMPLETIONS:
        work.chunk.tails[:] = [b',"prompt":"row-%d"}' % row for row in range(20)]
    async with simulated() as simulator, running(simulator.app.url, work) as run:
        await run.results(20)
        assert run.sink.errors == {}
        assert run.sink.tokens[1] > 0


async def test_a_canary_goes_before_the_adapters_other_rows_and_adapters_stay_together():
    works = [make_work(40, chunk_no=number, adapter=f"org/lora-{number % 3}") for number in range(6)]
    async with simulated("--time-scale", "0.002") as simulator, running(simulator.app.url, *works) as run:
        await run.results(240)
        assert run.sink.errors == {}
        stats = await simulator.stats()
        assert stats["adapter_downloads"] == 3
        assert stats["adapter_loads"] <= 6, "one each, and a few when a row came too late to keep its adapter"
        assert run.runner.status().warm_adapters


async def test_a_missing_adapter_costs_its_own_rows_and_one_try():
    works = [make_work(50, adapter="org/missing"), make_work(50, chunk_no=1), make_work(50, chunk_no=2, adapter="a/b")]
    async with (
        simulated("--fault", "adapter-not-found=missing") as simulator,
        running(simulator.app.url, *works) as run,
    ):
        await run.results(150)
        assert set(run.sink.codes.values()) == {"adapter_not_found"}
        assert sorted(run.sink.codes) == list(range(1, 51))
        assert (await simulator.stats())["rows_by_status"]["424"] == 1


async def test_an_adapter_that_another_server_may_run_is_given_back_once():
    work = make_work(30, adapter="a/b")
    async with simulated("--fault", "no-dynamic-adapters") as simulator, running(simulator.app.url, work) as run:
        await run.until(lambda: run.returned)
        assert sorted(work.waiting) == list(range(30))
        assert work.refused_by == {"s1"}
        run.runner.give(work)
        await run.results(30)
        assert set(run.sink.codes.values()) == {"adapter_loading_disabled"}


async def test_a_poison_row_fails_alone():
    texts = ["fault:poison" if row == 17 else "" for row in range(60)]
    async with (
        simulated("--fault", "poison", "--time-scale", "0.005") as simulator,
        running(simulator.app.url, make_work(texts=texts)) as run,
    ):
        await run.results(60)
        assert list(run.sink.codes) == [18]


async def test_a_row_that_resets_its_connection_fails_alone():
    texts = ["fault:reset" if row == 3 else "" for row in range(40)]
    async with simulated("--fault", "reset") as simulator, running(simulator.app.url, make_work(texts=texts)) as run:
        await run.results(40)
        assert run.sink.codes == {4: "connection_reset"}


async def test_a_storm_of_429_costs_no_row():
    async with (
        simulated("--fault", "low-permits=4", "--time-scale", "0.002") as simulator,
        running(simulator.app.url, make_work(200)) as run,
    ):
        await run.results(200)
        assert run.sink.errors == {}
        stats = await simulator.stats()
        assert stats["rows_by_status"]["200"] == 200
        assert run.runner.status().in_flight_limit <= 16


async def test_a_server_that_dies_and_comes_back_costs_no_row():
    works = [make_work(200), make_work(100, chunk_no=1, adapter="a/b")]
    async with (
        simulated("--fault", "router-abort=120", "--cold-start", "20", "--time-scale", "0.005") as simulator,
        running(simulator.app.url, *works) as run,
    ):
        await run.results(300)
        assert run.sink.errors == {}
        assert (await simulator.stats())["restarts"] >= 1


async def test_a_server_that_stays_away_gives_its_chunks_back():
    settings = RunnerSettings(sweep_s=0.005, hold_s=0.1)
    work = make_work(50)
    async with (
        simulated("--fault", "hang=row") as simulator,
        running(simulator.app.url, work, settings=settings) as run,
    ):
        await run.until(lambda: run.runner.status().in_flight > 0)
        simulator.app._server.abort()
        await run.until(lambda: run.returned)
        assert run.runner.status().state is ServerState.UNREACHABLE
        assert not run.runner.wants_work
        assert sorted(work.waiting) == list(range(50))
        assert all(trouble.attempts == 0 for trouble in work.trouble.values())


async def test_a_wedged_server_is_freed():
    settings = RunnerSettings(sweep_s=0.005, stall_after_s=0.2)
    async with (
        simulated("--fault", "wedge=20", "--time-scale", "0.002") as simulator,
        running(simulator.app.url, make_work(80), settings=settings) as run,
    ):
        await run.results(80, timeout_s=40)
        assert run.sink.errors == {}


async def test_exhausted_memory_lowers_the_limit_and_costs_no_row():
    async with (
        simulated("--fault", "oom=20", "--time-scale", "0.002") as simulator,
        running(simulator.app.url, make_work(150)) as run,
    ):
        await run.results(150)
        assert run.sink.errors == {}


async def test_a_row_that_asks_for_too_many_tokens_gets_what_is_left():
    work = make_work(5, max_tokens=400, prompt_tokens=1)
    async with simulated("--max-total-tokens", "200") as simulator, running(simulator.app.url, work) as run:
        await run.results(5)
        assert run.sink.errors == {}
        assert set((await simulator.stats())["rows_by_status"]) == {"200", "422"}


async def test_a_prompt_that_cannot_fit_is_not_sent():
    work = make_work(5, prompt_tokens=9_000)
    async with simulated() as simulator, running(simulator.app.url, work) as run:
        await run.results(5)
        assert set(run.sink.codes.values()) == {"context_length_exceeded"}
        assert run.sink.lines["job", 1]["response"] is None
        assert (await simulator.stats())["rows_by_status"] == {}


async def test_a_withdrawn_job_comes_back_and_others_go_on():
    mine, other = make_work(400, job_id="mine"), make_work(100, job_id="other")
    async with simulated("--time-scale", "0.01") as simulator, running(simulator.app.url, mine, other) as run:
        await run.until(lambda: run.sink.lines)
        run.runner.withdraw("mine")
        await run.until(lambda: mine in run.returned)
        done = sum(job == "mine" for job, _ in run.sink.lines)
        assert len(mine.waiting) + done == 400
        assert mine.in_flight == 0
        await run.until(lambda: sum(job == "other" for job, _ in run.sink.lines) == 100)
        assert sum(job == "mine" for job, _ in run.sink.lines) == done
        assert run.runner.job_activity("mine") == (0, 0)


async def test_closing_lets_rows_end_and_gives_the_rest_back():
    work = make_work(500)
    async with simulated("--time-scale", "0.01") as simulator, running(simulator.app.url, work) as run:
        await run.until(lambda: run.sink.lines)
        await run.runner.close(10)
        assert run.returned == [work]
        assert len(work.waiting) + len(run.sink.lines) == 500
        stats = await simulator.stats()
        assert stats["rows_by_status"] == {"200": len(run.sink.lines)}


async def test_a_congested_sink_stops_the_sending():
    async with simulated() as simulator, running(simulator.app.url) as run:
        run.sink.congested = True
        run.runner.give(make_work(10))
        for _ in range(3):
            run.runner.sweep()
        assert run.runner.queued_rows == 10
        run.sink.congested = False
        await run.results(10)


async def test_a_server_that_says_the_token_again_does_not_get_it_into_a_result():
    token = "planted-in-an-authorization"
    REDACTOR.remember(token)

    def refuse(request: Request) -> list[bytes]:
        assert f"Bearer {token}".encode() in request.head
        said = f'{{"error": "401 for {token}", "error_type": "adapter_download"}}'.encode()
        return [http_answer(said, status=b"422 Unprocessable Entity")]

    work = make_work(3, adapter="org/private", authorization=f"Bearer {token}".encode())
    async with scripted(refuse) as server, running(server.url, work, limits=ServerLimits(model_id="m")) as run:
        await run.results(3)
        lines = msgspec.json.encode([run.sink.lines["job", line] for line in range(1, 4)]).decode()
        assert "401 for [redacted]" in lines
        assert token not in lines
        assert token not in str(run.sink.errors)


async def test_part_of_a_begun_chunk_goes_to_another_server_and_every_row_is_run_once():
    work = make_work(500)
    async with (
        simulated("--time-scale", "0.05") as slow,
        simulated() as quick,
        running(slow.app.url, work, max_in_flight=4) as begun,
        running(quick.app.url, sink=begun.sink) as idle,
    ):
        await begun.until(lambda: begun.sink.lines)
        part = begun.runner.split(work, 10_000)
        assert part is not None
        moved = len(part.waiting)
        assert moved > 400
        assert begun.runner.queued_rows == 1, "one stays"
        idle.runner.give(part)
        await idle.results(500)
        assert begun.runner.split(work, 1) is None
        assert (await quick.stats())["rows_by_status"] == {"200": moved}
        assert begun.returned == idle.returned == []
