"""Reads that callers share: never older than their call, one at a time, and nobody falls with another caller."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from lorax_batch_server.shared_messages import SharedMessages
from lorax_batch_server.shared_reads import SharedReads


class Store:
    """Answers a read when the test says so."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, ...]] = []
        self.gates: list[asyncio.Event] = []
        self.error: Exception | None = None
        self.version = 0

    async def read(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.reads.append(tuple(keys))
        answer = {key: f"{key}{self.version}" for key in keys if key != "missing"}
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if self.error is not None:
            raise self.error
        return answer


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_during_a_read_is_answered_by_the_next_one_together_with_all_others():
    store = Store()
    reads = SharedReads(store.read)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(reads.get("a"))
        await turns()
        store.version = 1  # a change that the read under way has not seen
        later = [group.create_task(reads.get(key)) for key in ("a", "b", "a", "missing")]
        await turns()
        assert store.reads == [("a",)]
        store.gates[0].set()
        await turns()
        assert store.reads == [("a",), ("a", "b", "missing")]
        store.gates[1].set()
    assert first.result() == "a0"
    assert [task.result() for task in later] == ["a1", "b1", "a1", None]


@pytest.mark.parametrize("read_began", [True, False])
async def test_others_are_answered_when_the_caller_who_reads_for_them_goes_away(read_began):
    store = Store()
    reads = SharedReads(store.read)
    async with asyncio.TaskGroup() as group:
        if not read_began:
            group.create_task(reads.get("busy"))
            await turns()
        leader = group.create_task(reads.get("a"))
        follower = group.create_task(reads.get("b"))
        await turns()
        if read_began:
            assert store.reads == [("a",)]
        leader.cancel()
        while not follower.done():
            await turns()
            for gate in store.gates:
                gate.set()
    assert follower.result() == "b0"
    assert leader.cancelled()


async def test_an_error_is_told_to_all_of_the_read_and_to_nobody_behind_it():
    store = Store()
    reads = SharedReads(store.read)
    store.error = ConnectionError("away")
    first = asyncio.create_task(reads.get("a"))
    await turns()
    second = asyncio.create_task(reads.get("a"))
    store.gates[0].set()
    await turns()
    store.error = None
    store.gates[1].set()
    with pytest.raises(ConnectionError):
        await first
    assert await second == "a0"


def test_a_message_is_made_once_for_a_value_and_not_for_its_equal():
    made: list[list[str]] = []

    def make(value: list[str]) -> StringValue:
        made.append(value)
        return StringValue(value=value[0])

    messages = SharedMessages(kept=2)
    one, equal = ["x"], ["x"]
    assert messages.of(one, make) is messages.of(one, make)
    assert messages.of(equal, make) is not messages.of(one, make)
    assert len(made) == 2
    for number in range(10):
        assert messages.of([f"{number}"], make).value == f"{number}"  # ids of dead values come back
    messages.of(one, make)
    assert len(made) == 13
