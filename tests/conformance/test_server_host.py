"""What every kind of server host must do."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import FleetError, SlotOccupiedError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchState, ServerHost
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.server_hosts.static_host import StaticHost

from tests.conformance.live_host import answering_model, eventually, running
from tests.conformance.server_host_cases import CASES, HostCase

TOKEN = "hf_" + "SecretOfTheCaller" * 2
LAUNCH = Launch(
    family="f" * 64,
    base_model_id="mistral-7b-instruct-v0-2",
    model="mistralai/Mistral-7B-Instruct-v0.2",
    arguments=("--eager-prefill", "true", "--max-total-tokens", "2048", "--quantize", "eetq"),
    config=ServerConfig(base_model="mistral-7b", quantization="eetq"),
    hf_token=TOKEN,
)
OTHER = Launch(family="e" * 64, base_model_id="other", model="org/other")


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HostCase]:
    case = CASES[request.param](tmp_path)
    yield case
    case.close()


@pytest.fixture
def slot_id(case: HostCase) -> str:
    return case.slot_ids[0]


# --- starting


async def test_a_started_server_gets_an_address_where_the_model_answers(case: HostCase, slot_id: str) -> None:
    async with running(case.open()) as live:
        server_id = await live.host.start(slot_id, LAUNCH)
        server = await live.reaches(server_id, LaunchState.UP)
        assert (server.slot_id, server.family, server.model) == (slot_id, LAUNCH.family, LAUNCH.model)
        assert server.start_time is not None
        assert (server.config, server.arguments) == (LAUNCH.config, LAUNCH.arguments)
        assert await answering_model(server.url) == LAUNCH.model


async def test_slots_have_servers_of_their_own(case: HostCase) -> None:
    async with running(case.open()) as live:
        ids = [await live.host.start(slot, launch) for slot, launch in zip(case.slot_ids, (LAUNCH, OTHER), strict=True)]
        urls = [(await live.reaches(server_id, LaunchState.UP)).url for server_id in ids]
        assert len(set(urls)) == 2
        assert [await answering_model(url) for url in urls] == [LAUNCH.model, OTHER.model]


async def test_a_slot_takes_one_server_only(case: HostCase, slot_id: str) -> None:
    async with running(case.open()) as live:
        server_id = await live.host.start(slot_id, LAUNCH)
        with pytest.raises(SlotOccupiedError, match=server_id):
            await live.host.start(slot_id, OTHER)
        assert [server.server_id for server in live.host.servers] == [server_id]


async def test_two_starts_at_once_make_one_server(case: HostCase, slot_id: str) -> None:
    async with running(case.open()) as live:
        outcomes = await asyncio.gather(
            live.host.start(slot_id, LAUNCH), live.host.start(slot_id, OTHER), return_exceptions=True
        )
        (refused,) = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert isinstance(refused, SlotOccupiedError)
        assert len(live.host.servers) == 1


async def test_an_unknown_slot_is_an_error_that_names_it(case: HostCase) -> None:
    async with running(case.open()) as live:
        with pytest.raises(FleetError, match="no-such-slot"):
            await live.host.start("no-such-slot", LAUNCH)
        assert not live.host.servers


async def test_its_slots_are_of_its_kind(case: HostCase) -> None:
    host = case.open()
    assert {slot.slot_id for slot in host.slots} == set(case.slot_ids)
    assert {slot.kind for slot in host.slots} == {host.kind}


async def test_a_token_is_seen_nowhere(case: HostCase, slot_id: str) -> None:
    async with running(case.open()) as live:
        server = await live.reaches(await live.host.start(slot_id, LAUNCH), LaunchState.UP)
        await answering_model(server.url)
        assert TOKEN not in case.traces()
        assert TOKEN not in repr((live.host, live.host.servers, live.host.slots, vars(live.host)))


# --- ending


async def test_a_stopped_server_is_gone_and_leaves_its_slot_free(case: HostCase, slot_id: str) -> None:
    async with running(case.open()) as live:
        server = await live.reaches(await live.host.start(slot_id, LAUNCH), LaunchState.UP)
        await answering_model(server.url)
        await live.host.stop(server.server_id)
        gone = await live.reaches(server.server_id, LaunchState.GONE)
        assert gone.reason
        assert not gone.log_tail
        assert not case.exists(server)
        again = await live.host.start(slot_id, OTHER)
        assert again != server.server_id
        await live.reaches(again, LaunchState.UP)
        assert [known.server_id for known in live.host.servers] == [again]


async def test_a_server_can_be_stopped_as_soon_as_it_has_an_id(case: HostCase, slot_id: str) -> None:
    async with running(case.open()) as live:
        server_id = await live.host.start(slot_id, LAUNCH)
        await live.host.stop(server_id)
        assert not case.exists(await live.reaches(server_id, LaunchState.GONE))


async def test_stopping_twice_is_as_stopping_once(case: HostCase, slot_id: str) -> None:
    async with running(case.open()) as live:
        server_id = await live.host.start(slot_id, LAUNCH)
        await live.reaches(server_id, LaunchState.UP)
        await live.host.stop(server_id)
        await live.host.stop(server_id)
        await live.reaches(server_id, LaunchState.GONE)
        await live.host.stop(server_id)


async def test_stopping_an_unknown_server_does_nothing(case: HostCase) -> None:
    async with running(case.open()) as live:
        await live.host.stop("no-such-server")
        assert not live.host.servers


async def test_a_server_that_dies_by_itself_is_gone_with_its_reason_and_last_words(
    case: HostCase, slot_id: str
) -> None:
    async with running(case.open()) as live:
        server = await live.reaches(await live.host.start(slot_id, LAUNCH), LaunchState.UP)
        await answering_model(server.url)
        case.break_down(server)
        gone = await live.reaches(server.server_id, LaunchState.GONE)
        assert "KILL" in gone.reason or "137" in gone.reason
        assert gone.log_tail
        await live.reaches(await live.host.start(slot_id, LAUNCH), LaunchState.UP)


async def test_closing_ends_all_servers(case: HostCase) -> None:
    async with running(case.open()) as live:
        ids = [await live.host.start(slot, LAUNCH) for slot in case.slot_ids]
        servers = [await live.reaches(server_id, LaunchState.UP) for server_id in ids]
        await live.host.close()
        assert not any(case.exists(server) for server in servers)
        assert {server.state for server in live.host.servers} == {LaunchState.GONE}


async def test_closing_after_its_run_was_cancelled_ends_all_servers(case: HostCase, slot_id: str) -> None:
    host = case.open()
    async with running(host, close=False) as live:
        server = await live.reaches(await host.start(slot_id, LAUNCH), LaunchState.UP)
        await answering_model(server.url)
    assert case.exists(server)
    await host.close()
    assert not case.exists(server)


# --- another life


async def test_the_next_life_adopts_a_server_and_can_end_it(case: HostCase, slot_id: str) -> None:
    async with running(case.open(), close=False) as live:
        server = await live.reaches(await live.host.start(slot_id, LAUNCH), LaunchState.UP)
        await answering_model(server.url)
    async with running(case.open()) as live:
        adopted = await live.reaches(server.server_id, LaunchState.UP)
        assert (adopted.url, adopted.family, adopted.model) == (server.url, server.family, server.model)
        assert (adopted.slot_id, adopted.config, adopted.arguments) == (slot_id, LAUNCH.config, LAUNCH.arguments)
        assert await answering_model(adopted.url) == LAUNCH.model
        with pytest.raises(SlotOccupiedError):
            await live.host.start(slot_id, OTHER)
        await live.host.stop(server.server_id)
        await live.reaches(server.server_id, LaunchState.GONE)
        assert not case.exists(server)


async def test_the_next_life_ends_a_server_whose_slot_is_not_configured_any_more(case: HostCase) -> None:
    kept, dropped = case.slot_ids
    async with running(case.open(), close=False) as live:
        servers = [await live.reaches(await live.host.start(slot, LAUNCH), LaunchState.UP) for slot in (kept, dropped)]
        for server in servers:
            await answering_model(server.url)
    async with running(case.open(kept)) as live:
        assert [server.server_id for server in live.host.servers] == [servers[0].server_id]
        await eventually(lambda: not case.exists(servers[1]))
        assert case.exists(servers[0])


async def test_the_next_life_finds_that_a_server_has_died_meanwhile(case: HostCase, slot_id: str) -> None:
    async with running(case.open(), close=False) as live:
        server = await live.reaches(await live.host.start(slot_id, LAUNCH), LaunchState.UP)
        await answering_model(server.url)
    case.break_down(server)
    async with running(case.open()) as live:
        await live.until(lambda: all(known.state is LaunchState.GONE for known in live.host.servers))
        await live.reaches(await live.host.start(slot_id, OTHER), LaunchState.UP)


async def test_an_adopted_server_that_dies_is_gone(case: HostCase, slot_id: str) -> None:
    async with running(case.open(), close=False) as live:
        server = await live.reaches(await live.host.start(slot_id, LAUNCH), LaunchState.UP)
        await answering_model(server.url)
    async with running(case.open()) as live:
        await live.reaches(server.server_id, LaunchState.UP)
        case.break_down(server)
        assert (await live.reaches(server.server_id, LaunchState.GONE)).reason


# --- fixed URLs


@pytest.fixture
def static() -> ServerHost:
    return StaticHost([Slot(slot_id="slot_1", kind="static", url="http://127.0.0.1:9")])


async def test_a_fixed_server_is_up_before_and_after_everything(static: ServerHost) -> None:
    async with running(static) as live:
        (server,) = live.host.servers
        assert (server.server_id, server.slot_id, server.state) == ("slot_1", "slot_1", LaunchState.UP)
        assert (server.url, server.family, server.model) == ("http://127.0.0.1:9", "", "")
        await live.host.stop("slot_1")
        await live.host.stop("no-such-server")
        await live.host.close()
        assert [known.state for known in live.host.servers] == [LaunchState.UP]


async def test_nothing_is_started_on_a_fixed_url(static: ServerHost) -> None:
    async with running(static) as live:
        with pytest.raises(FleetError, match="fixed URL"):
            await live.host.start("slot_1", LAUNCH)


async def test_a_fixed_slot_is_of_the_static_kind(static: ServerHost) -> None:
    assert static.kind == "static"
    assert [slot.kind for slot in static.slots] == ["static"]
