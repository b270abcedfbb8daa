"""Hazards whose remedies take minutes by default, against a runner with short patience in the test's own process."""

import pytest
from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.running import retry, runner
from lorax_batch_scheduler.running.runner import RunnerSettings

from tests.integration.lorax_servers.running import running
from tests.rows import make_work
from tests.simulator.conftest import simulated

QUICK_STALL = RunnerSettings(sweep_s=0.005, stall_after_s=0.2)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACK_OFF_S", 0.02)
    monkeypatch.setattr(retry, "ADAPTER_BACK_OFF_S", 0.05)
    monkeypatch.setattr(runner, "BETWEEN_SIGNS_S", 0.02)
    monkeypatch.setattr(runner, "CHECK_S", 0.05)


@pytest.mark.parametrize("in_flight", [100, 900])
async def test_a_poison_row_among_many_is_found_in_few_rounds(in_flight: int) -> None:
    """The calls that a poison row costs grow with the rows in flight, the rounds only with their logarithm."""
    texts = ["fault:poison" if row == 950 else "" for row in range(1_000)]
    async with (
        simulated("--fault", "poison", "--time-scale", "0.002") as simulator,
        running(simulator.app.url, make_work(texts=texts), max_in_flight=in_flight) as run,
    ):
        await run.results(1_000, timeout_s=40)
        assert list(run.sink.codes) == [951]
        stats = await simulator.stats()
        assert 3 <= stats["faults_fired"]["poison"] <= 9
        assert stats["rows_received"] - 1_000 <= 3 * in_flight


async def test_a_stall_while_an_adapter_loads_is_none() -> None:
    """No row is answered while an adapter loads; that is no reason to close a connection, whose end might harm."""
    works = [make_work(100), make_work(50, chunk_no=1, adapter="org/slow")]
    faults = ("--fault", "adapter-slow", "--fault", "adapter-incompatible", "--fault", "disconnect-abort")
    async with (
        simulated(*faults, "--time-scale", "0.02") as simulator,
        running(simulator.app.url, *works, settings=QUICK_STALL) as run,
    ):
        await run.results(150)
        assert set(run.sink.codes.values()) == {"adapter_incompatible"}
        stats = await simulator.stats()
        assert stats["faults_fired"] == {"adapter-slow": 1, "adapter-incompatible": 1}
        assert (stats["hung_up_while_loading"], stats["restarts"]) == (0, 0)
        assert stats["rows_received"] == 101


async def test_a_server_that_wedges_while_a_row_waits_for_an_adapter_is_freed() -> None:
    """A shard that is free loads nothing: then even the row that is to load an adapter is sent anew."""
    async with (
        simulated("--time-scale", "0.002") as simulator,
        running(simulator.app.url, make_work(60), settings=QUICK_STALL) as run,
    ):
        await run.results(60)
        await simulator.post("/_simulator/faults", {"on": ["wedge=0"]})
        run.runner.give(make_work(20, chunk_no=1, adapter="org/a"))
        await run.results(80)
        assert run.sink.errors == {}
        stats = await simulator.stats()
        assert stats["faults_fired"]["wedge"] > 0
        assert stats["rows_received"] > 80


async def test_a_row_that_fits_no_memory_blocks_the_others_only_until_it_is_found() -> None:
    """LoRAX never admits a row that is larger than its memory, nor any behind it: it is closed, isolated and fails."""
    small, blocked = make_work(80), make_work(texts=["long " * 400], chunk_no=1, max_tokens=700, prompt_tokens=1)
    async with (
        simulated("--max-batch-total-tokens", "1000", "--time-scale", "0.002", "--marker", "long") as simulator,
        running(simulator.app.url, blocked, small, settings=QUICK_STALL) as run,
    ):
        await run.results(81, timeout_s=40)
        assert run.sink.codes == {1_001: "server_stalled"}
        stats = await simulator.stats()
        calls = (await simulator.get("/_simulator/requests?key=long")).json["received"]["long"]
        assert 3 <= calls <= 6
        assert stats["rows_received"] <= 81 + calls * 20


async def test_rows_that_hold_their_memory_twice_do_not_block_a_server_that_is_filled_with_care() -> None:
    """Blocks that leak when LoRAX puts rows back wedge it only when too large rows queue: so few are sent at a time."""
    async with (
        simulated(
            *("--fault", "leaky-blocks", "--time-scale", "0.005", "--no-eager-prefill"),
            *("--max-batch-total-tokens", "3000", "--max-batch-prefill-tokens", "70", "--max-input-length", "60"),
        ) as simulator,
        running(simulator.app.url, make_work(60, max_tokens=100), settings=QUICK_STALL) as run,
    ):
        await run.results(60, timeout_s=40)
        assert run.sink.errors == {}
        assert (await simulator.stats())["faults_fired"]["leaky-blocks"] > 0


async def test_an_answer_whose_end_never_comes_costs_its_row_and_nothing_else() -> None:
    """A body shorter than its length is waited for until the row's time is over; the connection goes with it."""
    settings = RunnerSettings(sweep_s=0.005, row_timeout_s=0.2, row_timeout_per_token_s=0.0)
    texts = ["fault:short-body" if row == 7 else "" for row in range(100)]
    async with (
        simulated("--fault", "short-body") as simulator,
        running(simulator.app.url, make_work(texts=texts), settings=settings) as run,
    ):
        await run.results(100)
        assert run.sink.codes == {8: "row_timed_out"}
        assert (await simulator.stats())["faults_fired"] == {"short-body": retry.MAX_ATTEMPTS}


async def test_an_adapter_whose_download_fails_once_is_tried_again() -> None:
    """A passing failure of the hub delays the rows of the adapter, costs one more download, and fails no row."""
    works = [make_work(50, adapter="org/flaky"), make_work(50, chunk_no=1)]
    async with simulated("--fault", "adapter-flaky") as simulator, running(simulator.app.url, *works) as run:
        await run.results(100)
        assert run.sink.errors == {}
        stats = await simulator.stats()
        assert stats["faults_fired"] == {"adapter-flaky": 1}
        assert stats["rows_received"] == 101


async def test_rows_wait_for_a_server_whose_gpu_is_lost_and_come_back_unharmed() -> None:
    """With no other server the rows go back with no attempt charged, and the server tells why it gets none."""
    settings = RunnerSettings(sweep_s=0.005, hold_s=0.2)
    work = make_work(60)
    async with (
        simulated("--fault", "cuda-assert") as simulator,
        running(simulator.app.url, work, settings=settings) as run,
    ):
        await run.until(lambda: run.returned)
        status = run.runner.status()
        assert status.state is ServerState.SUSPECT
        assert "device-side assert" in status.reason
        assert not run.runner.wants_work
        assert sorted(work.waiting) == list(range(60))
        assert all(trouble.attempts == 0 for trouble in work.trouble.values())
        assert 1 <= (await simulator.stats())["faults_fired"]["cuda-assert"] <= 3
        simulator.app._server.abort()
        await run.until(lambda: run.runner.wants_work)
        run.runner.give(work)
        await run.results(60)
        assert run.sink.errors == {}


async def test_a_server_that_fails_every_row_and_says_that_it_is_well_is_to_blame_itself() -> None:
    """While no row was answered since the last trouble, failures of a broken GPU are not counted against rows."""
    works = [make_work(30), make_work(30, chunk_no=1)]
    async with (
        simulated("--fault", "health-green") as simulator,
        running(simulator.app.url, works[0]) as run,
    ):
        await run.results(30)
        await simulator.post("/_simulator/faults", {"on": ["cuda-assert"]})
        run.runner.give(works[1])
        await run.until(lambda: sum(trouble.excused for trouble in works[1].trouble.values()) >= 1)
        assert run.sink.errors == {}
        await simulator.post("/_simulator/faults", {"off": ["cuda-assert"]})
        await run.until(lambda: works[1] in run.returned or len(run.sink.lines) == 60)
        if works[1] in run.returned:
            run.runner.give(works[1])
        await run.results(60)
        assert run.sink.errors == {}
        stats = await simulator.stats()
        assert stats["faults_fired"]["cuda-assert"] >= 2
        assert stats["faults_fired"]["health-green"] >= 1
