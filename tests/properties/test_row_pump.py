"""The row pump and its queue: whatever a server does, each row ends exactly once."""

import random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.lorax_servers import ServerAddress, WireFault
from lorax_batch_scheduler.running.in_flight_limit import InFlightLimit
from lorax_batch_scheduler.running.row_pump import PumpEvents, RowPump
from lorax_batch_scheduler.work import ChunkWork

from tests.properties.effort import examples
from tests.rows import RecordingSink, make_work

LIMITS = ServerLimits(model_id="m", is_lorax=True, max_total_tokens=100)
GOOD = b'{"choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
TOO_LONG = b"`inputs` tokens + `max_new_tokens` must be <= 100. Given: 90 `inputs` tokens and 16 `max_new_tokens`"


def generation_error(message: bytes) -> tuple[int, bytes]:
    return 424, b'{"error":"Request failed during generation: %s","error_type":"generation"}' % message


BAD = {
    "busy": (429, b'{"error":"Model is overloaded","error_type":"overloaded"}'),
    "poison": generation_error(b"Server error: odd"),
    "out of memory": generation_error(b"CUDA out of memory"),
    "shard broken": generation_error(b"device-side assert"),
    "shard died": generation_error(b"transport error"),
    "bad schema": generation_error(b"could not translate the instance"),
    "adapter elsewhere": generation_error(b"does not support dynamic adapter loading"),
    "adapter unreachable": generation_error(b"read timed out"),
    "too long": (422, b'{"error":"%s","error_type":"validation"}' % TOO_LONG),
    "invalid": (422, b'{"error":"no","error_type":"validation"}'),
    "broken": (500, b"<html>"),
    "gateway": (502, b""),
    "no adapter": (404, b'{"error":"not found"}'),
    "no result": (200, b'{"choices":[]}'),
    "rubbish": (200, b"\xff\xfe"),
}


class Time(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


class Wire:
    """What the pump takes for a connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.exchange: Any = None
        self.sent_at = 0.0
        self.reusable = True
        self.raw = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"

    def __hash__(self) -> int:
        return self.number  # the pool keeps a set: its order must be the same in every run

    def __eq__(self, other: object) -> bool:
        return self is other

    def send(self, request: bytes) -> None:
        assert self.exchange is not None
        assert request.startswith(b"POST ")

    def close(self) -> None:
        self.reusable = False


class Pumping(RuleBasedStateMachine):
    """One server, three chunks of two adapters and the base model."""

    @initialize(seed=st.integers(0, 1_000))
    def start(self, seed: int) -> None:
        self.time = Time()
        self.sink = RecordingSink()
        self.returned: list[ChunkWork] = []
        self.pump = RowPump(
            server_id="s1",
            address=ServerAddress.from_url("http://127.0.0.1:80"),
            limits=LIMITS,
            limit=InFlightLimit(LIMITS, 8),
            sink=self.sink,
            clock=self.time,
            chance=random.Random(seed),
            events=PumpEvents(
                on_returned=self.returned.append,
                on_low=lambda: None,
                on_sick=lambda _: self._stop(),
                on_gone=lambda _: self._stop(cool=True),
            ),
        )
        self.works = [
            make_work(5, job_id="x"),
            make_work(4, job_id="x", chunk_no=1, adapter="a", schemas=[0, 7, 7, 8]),
            make_work(3, job_id="y", chunk_no=2, adapter="b", prompt_tokens=90),
        ]
        self.unused = list(self.works)
        self.wires = 0
        self.connect(4)
        for _ in self.works:
            self.give()

    def _stop(self, *, cool: bool = False) -> None:
        self.pump.sending = False
        if cool:
            self.pump.queue.cool()

    def _busy(self) -> list[Any]:
        wires: list[Any] = list(self.pump.pool.connections)
        return sorted((w for w in wires if w.exchange is not None), key=lambda w: (w.sent_at, repr(w.exchange)))

    @rule(count=st.integers(1, 4))
    def connect(self, count: int) -> None:
        for _ in range(count):
            self.wires += 1
            wire: Any = Wire(self.wires)
            if self.pump.pool.open_count < 8:
                self.pump.pool._open.add(wire)
                self.pump.pool.idle.append(wire)
        self.pump.pump()

    @precondition(lambda self: self.unused or self.returned)
    @rule()
    def give(self) -> None:
        waiting = self.unused or self.returned
        work = min(waiting, key=lambda work: work.lease.chunk_no)
        waiting.remove(work)
        work.withdrawn = False
        self.pump.accept(work)

    @precondition(lambda self: self._busy())
    @rule(place=st.integers(0, 7), kind=st.sampled_from(["good"] * 5 + sorted(BAD)))
    def answer(self, place: int, kind: str) -> None:
        busy = self._busy()
        status, body = (200, GOOD) if kind == "good" else BAD[kind]
        self.pump._answered(busy[place % len(busy)], status, body)

    @precondition(lambda self: self._busy())
    @rule(place=st.integers(0, 7), fault=st.sampled_from([f for f in WireFault if f is not WireFault.REFUSED]))
    def lose(self, place: int, fault: WireFault) -> None:
        busy = self._busy()
        self.pump.pool._lost(busy[place % len(busy)], fault, "")

    @precondition(lambda self: self._busy())
    @rule(count=st.integers(1, 3))
    def give_up_oldest(self, count: int) -> None:
        self.pump.give_up_connections(self._busy()[:count], WireFault.STALLED, "")

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 20.0, 400.0]))
    def sweep(self, seconds: float) -> None:
        self.time.seconds += seconds
        self.pump.sweep(self.time.seconds)

    @rule(job_id=st.sampled_from(["x", "y"]))
    def withdraw(self, job_id: str) -> None:
        self.pump.withdraw(lambda queued: queued.work.job_id == job_id)

    @rule(place=st.integers(0, 2))
    def give_up_chunk(self, place: int) -> None:
        self.pump.withdraw(lambda queued: queued.work is self.works[place])

    @rule(place=st.integers(0, 2), count=st.integers(1, 3))
    def split(self, place: int, count: int) -> None:
        """Rows of a chunk go elsewhere; here they come back as a second part of it."""
        work = self.works[place]
        rows = self.pump.queue.take_out(work, count)
        if rows:
            part = work.split_off(rows)
            self.works.append(part)
            self.unused.append(part)

    @rule(rows=st.none() | st.integers(1, 4), trusted=st.booleans())
    def new_server(self, rows: int | None, trusted: bool) -> None:
        self.pump.start_over(LIMITS, rows, trusted=trusted)

    @rule()
    def abandon(self) -> None:
        self.pump.abandon()

    @rule(congested=st.booleans())
    def congest(self, congested: bool) -> None:
        self.sink.congested = congested
        self.pump.pump()

    @invariant()
    def every_row_is_in_one_place(self) -> None:
        if not hasattr(self, "works"):
            return
        pump, flying = self.pump, [wire.exchange for wire in self._busy()]
        assert pump.in_flight == len(flying)
        assert pump.tokens_in_flight == sum(flight.reservation for flight in flying)
        queued_of = {id(queued.work): queued for queued in pump.works}
        for work in self.works:
            rows = [*work.waiting, *(f.row for f in flying if f.queued.work is work)]
            queued = queued_of.get(id(work))
            own = [row for row in range(work.lease.row_count) if work.rows >> row & 1]
            if queued is not None:
                rows += queued.elsewhere
                rows += [row for q, row in queued.adapter.due if q is queued]
                rows += [row for suspects in pump.queue._apart.values() for q, row in suspects if q is queued]
                rows += [row for _, _, q, row in pump.queue._retries if q is queued]
            done = [line - work.chunk.lines[0] for _, line in self.sink.lines if line in work.chunk.lines]
            rows += [row for row in done if row in own]
            assert sorted(rows) == own
            assert work.in_flight == sum(f.queued.work is work for f in flying)
        assert pump.queue.size == sum(len(queued.rows) + queued.held for queued in pump.queue.works)

    def teardown(self) -> None:
        if not hasattr(self, "works"):
            return
        self.sink.congested = False
        self.pump.start_over(LIMITS, None, trusted=True)
        for _ in range(300):
            self.connect(4)
            while self.unused or self.returned:
                self.give()
            for wire in self._busy():
                self.pump._answered(wire, 200, GOOD)
            self.sweep(400.0)
        assert len(self.sink.lines) == sum(work.lease.row_count for work in self.works[:3])
        assert (self.pump.in_flight, self.pump.queue.size, self.pump.works, self.returned) == (0, 0, [], [])


Pumping.TestCase.settings = examples(250, steps=40)
TestPumping = Pumping.TestCase
