"""The fault switches: how they are written, and what each does to a row."""

import asyncio
import json

import aiohttp
import pytest
from lorax_simulator.faults import FAULT_KINDS, FaultError, Faults, parse_fault
from lorax_simulator.rubbish import RUBBISH, Then

from tests.simulator.conftest import chat_body

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "text",
    ["nonsense", "oom", "oom=x", "oom=-1", "cuda-assert=1", "slow-health=soon", "adapter-slow=(", "missing-keys"],
)
def test_a_fault_that_cannot_be_understood_is_refused(text):
    with pytest.raises(FaultError):
        parse_fault(text)


def test_an_unknown_fault_is_told_all_names():
    with pytest.raises(FaultError) as caught:
        parse_fault("nonsense")
    assert all(name in str(caught.value) for name in FAULT_KINDS)


def test_a_counted_fault_is_spent():
    faults = Faults([parse_fault("batch-failure=2")])
    assert [faults.spend("batch-failure") for _ in range(3)] == [True, True, False]


def test_faults_are_listed_as_they_are_written():
    written = ["poison=x", "poison=y", "wedge", "oom=3"]
    assert Faults(map(parse_fault, written)).listing() == written


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("plain-text-400", 400, "text/plain; charset=utf-8"),
        ("plain-text-413", 413, "text/plain; charset=utf-8"),
        ("plain-text-422", 422, "text/plain; charset=utf-8"),
        ("template-error", 422, "application/json"),
        ("incomplete", 500, "application/json"),
        ("poison", 424, "application/json"),
        ("unavailable", 503, "text/plain; charset=utf-8"),
    ],
)
async def test_a_row_with_the_marker_gets_the_fault_and_others_do_not(simulate, name, status, kind):
    simulator = await simulate("--fault", name)
    answer = await simulator.chat(f"say fault:{name}")
    assert (answer.status, answer.headers["content-type"]) == (status, kind)
    assert (await simulator.chat("say nothing")).status == 200
    assert (await simulator.stats())["faults_fired"] == {name: 1}


async def test_a_poisonous_adapter_fails_the_batch_of_its_rows(simulate):
    simulator = await simulate("--fault", "adapter-poison=org/bad")
    assert (await simulator.chat(model="org/bad")).status == 424
    assert (await simulator.chat(model="org/good")).status == 200
    assert (await simulator.stats())["faults_fired"] == {"adapter-poison": 1}


async def test_health_can_be_green_whatever_is_the_matter(simulate):
    simulator = await simulate("--fault", "cuda-assert", "--fault", "health-green")
    assert (await simulator.chat()).status == 424
    assert (await simulator.get("/health")).status == 200
    assert (await simulator.stats())["faults_fired"] == {"cuda-assert": 1, "health-green": 1}


async def test_a_fault_that_is_on_but_harms_nobody_has_not_fired(simulate):
    simulator = await simulate("--fault", "oom=4", "--fault", "wedge=9", "--fault", "low-permits=9", "--fault", "hang")
    assert (await simulator.chat()).status == 200
    assert (await simulator.stats())["faults_fired"] == {}


async def test_a_row_that_hangs_up_while_its_adapter_loads_is_counted_and_may_abort_the_router(simulate):
    simulator = await simulate(
        *("--time-scale", "0.005", "--cold-start", "1", "--fault", "disconnect-abort"),
        *("--fault", "adapter-slow=org/bad", "--fault", "adapter-invalid=org/bad"),
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await simulator.chat(model="org/bad")
    while True:
        try:
            stats = await simulator.stats()
        except aiohttp.ClientConnectionError:
            continue
        if stats["restarts"]:
            break
    assert stats["hung_up_while_loading"] == 1
    assert stats["faults_fired"] == {"adapter-slow": 1, "adapter-invalid": 1, "disconnect-abort": 1}


@pytest.mark.parametrize("name", sorted(RUBBISH))
async def test_rubbish_is_sent_and_others_are_answered_rightly(simulate, name):
    simulator = await simulate("--fault", name)
    assert (await simulator.chat("the row before")).status == 200
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*simulator.app.url.removeprefix("http://").split(":"))
        body = json.dumps(chat_body(f"say fault:{name}")).encode()
        writer.write(b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n" % (CHAT.encode(), len(body)))
        writer.write(b"content-type: application/json\r\n\r\n" + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 ")
        if RUBBISH[name].then is Then.CLOSE:
            await reader.read()
        writer.transport.abort()
        assert (await simulator.chat("say nothing")).status == 200
    assert (await simulator.stats())["faults_fired"] == {name: 1}


async def test_a_flaky_row_fails_once(simulate):
    simulator = await simulate("--fault", "flaky=row-7")
    assert [(await simulator.chat("row-7")).status for _ in range(2)] == [500, 200]


async def test_a_reset_row_loses_its_connection(simulate):
    simulator = await simulate("--fault", "reset=row-7")
    with pytest.raises(aiohttp.ClientConnectionError):
        await simulator.chat("row-7")
    assert (await simulator.chat("row-8")).status == 200


async def test_a_hanging_row_is_never_answered_and_gives_its_permit_back_when_it_hangs_up(simulate):
    simulator = await simulate("--fault", "hang=row-7")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await simulator.chat("row-7")
    while (await simulator.stats())["permits_taken"]:
        pass
    assert (await simulator.stats())["rows_by_status"] == {"0": 1}


async def test_leading_space_and_missing_keys(simulate):
    simulator = await simulate("--fault", "leading-space", "--fault", "missing-keys=usage,system_fingerprint")
    body = (await simulator.chat()).json
    assert body["choices"][0]["message"]["content"].startswith(" ")
    assert list(body) == ["id", "object", "created", "model", "choices"]


async def test_faults_change_at_run_time(simulate):
    simulator = await simulate("--fault", "wedge")
    waiting = asyncio.ensure_future(simulator.chat())
    while not (await simulator.stats())["waiting"]:
        pass
    changed = await simulator.post("/_simulator/faults", {"off": ["wedge"], "on": ["low-permits=0"]})
    assert changed.json == {"faults": ["low-permits=0"]}
    assert (await waiting).status == 200
    assert (await simulator.chat()).status == 429
    assert (await simulator.post("/_simulator/faults", {"clear": True})).json == {"faults": []}
    assert (await simulator.chat()).status == 200
    wrong = await simulator.post("/_simulator/faults", {"on": ["nonsense"]})
    assert wrong.status == 400
    assert "unknown fault" in wrong.json["error"]


async def test_the_journal_counts_the_calls_of_each_row(simulate):
    simulator = await simulate("--fault", "flaky=row-2")
    for number in (1, 2, 2):
        await simulator.chat(f"row-{number}")
    counts = (await simulator.get("/_simulator/requests")).json
    assert counts == {"received": {"row-1": 1, "row-2": 2}, "answered": {"row-1": 1, "row-2": 1}}
    assert (await simulator.get("/_simulator/requests?key=row-2")).json["received"] == {"row-2": 2}


async def test_a_thousand_concurrent_rows_are_each_answered_with_their_own_text(simulate):
    simulator = await simulate("--max-batch-total-tokens", "20000")
    await simulator.chat()

    async def own(number):
        body = chat_body(f"this is row-{number:04d}", model=("", "org/a", "org/b")[number % 3])
        answer = await simulator.post(CHAT, body)
        return f"this is row-{number:04d}" in answer.json["choices"][0]["message"]["content"]

    limit = asyncio.Semaphore(100)

    async def bounded(number):
        async with limit:
            return await own(number)

    assert all(await asyncio.gather(*(bounded(number) for number in range(1000))))
    stats = await simulator.stats()
    assert (stats["rows_answered"], stats["permits_taken"], stats["running"]) == (1001, 0, 0)
