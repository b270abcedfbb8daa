"""No row's answer goes to another row, whatever pieces the bytes of a server come in and wherever they stop."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from lorax_batch_scheduler.lorax_servers import Connection, WireFault

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

Sent = tuple[bytes, bool]
"""The bytes that answer a request, and whether the server closes the connection behind them."""


def framed(body: bytes, length: int | None = None) -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:]) if piece)
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"


ANSWERS = {
    "right": lambda body, before: (framed(body), False),
    "chunked": lambda body, before: (chunked(body), False),
    "closing": lambda body, before: (framed(body).replace(HEAD, HEAD + b"connection: close\r\n"), True),
    "until the end": lambda body, before: (HEAD + b"\r\n" + body, True),
    "interim": lambda body, before: (b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" + framed(body), False),
    "half": lambda body, before: (framed(body)[: -len(body) // 2], True),
    "half a chunk": lambda body, before: (chunked(body)[:-12], True),
    "half, then silence": lambda body, before: (framed(body, len(body) + 50), False),
    "too long": lambda body, before: (framed(body) + b"and more of it", False),
    "not HTTP": lambda body, before: (b"SSH-2.0-OpenSSH_9.2\r\n", False),
    "bad chunks": lambda body, before: (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + body, False),
    "two lengths": lambda body, before: (framed(body).replace(HEAD, HEAD + b"content-length: 3\r\n"), False),
    "the one before first": lambda body, before: (framed(before)[:-3], True),
}  # fmt: skip
"""What a server may send for a request. Never a whole answer to another request: HTTP/1.1 has nothing to tell it by."""


@dataclass(slots=True)
class Wire:
    """Stands for the transport and the server behind it."""

    written: list[bytes] = field(default_factory=list)
    aborted: bool = False

    def write(self, data: bytes) -> None:
        assert not self.aborted
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


class Owner:
    """Sends one row after the other over a connection, as a pump does, and notes what it is told."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.connection = Connection(self._answered, self._lost)
        self.connection.connection_made(cast("asyncio.BaseTransport", self.wire))
        self.results: dict[int, Any] = {}

    def send(self, row: int) -> None:
        self.connection.exchange = row
        self.connection.send(b"row-%d" % row)

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        row, connection.exchange = connection.exchange, None
        assert row not in self.results
        self.results[row] = (status, body)

    def _lost(self, connection: Connection, fault: WireFault, _detail: str) -> None:
        row, connection.exchange = connection.exchange, None
        if row is not None:
            assert row not in self.results
            self.results[row] = fault


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes as a network may."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True) if start < end]


def body_of(row: int) -> bytes:
    return b'{"row":%d,"text":"%s"}' % (row, b"x" * (row * 37 % 200))


@settings(max_examples=200, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 600), max_size=6),
    gives_up_after=st.none() | st.integers(0, 3),
)
def test_every_answer_is_that_of_the_row_in_flight(
    kinds: list[str], cuts: list[int], gives_up_after: int | None
) -> None:
    """A row gets its own whole answer or a fault; what is left of an answer is never read as that of the next row."""
    owner, before = Owner(), b"{}"
    for row, kind in enumerate(kinds):
        if not owner.connection.reusable:
            owner = Owner()  # as the pool does: a new connection
        owner.send(row)
        data, closes = ANSWERS[kind](body_of(row), before)
        for number, piece in enumerate(pieces_of(data, cuts)):
            if owner.wire.aborted or number == gives_up_after:
                break
            owner.connection.data_received(piece)
        if closes and not owner.wire.aborted:
            owner.connection.connection_lost(None)
        if row not in owner.results and owner.connection.busy:
            owner.connection.close()  # its time is over
            assert not owner.connection.reusable
            owner.results[row] = WireFault.TIMED_OUT
        before = body_of(row)
        result = owner.results[row]
        event(f"{kind}: {'answer' if isinstance(result, tuple) else result}")
        if kind == "until the end" and isinstance(result, tuple):
            # Nothing tells that it was cut but the JSON, which the reader of answers checks.
            assert body_of(row).startswith(result[1])
        else:
            assert not isinstance(result, tuple) or result == (200, body_of(row)), kind
        if kind in ("right", "chunked", "interim") and gives_up_after is None:
            assert result == (200, body_of(row))
            assert owner.connection.reusable


@pytest.mark.parametrize("cut", range(1, len(framed(b'{"row":1}'))))
def test_a_row_that_was_given_up_leaves_nothing_to_the_next(cut: int) -> None:
    """A connection whose answer was left half read is closed at once: bytes that still come are thrown away."""
    owner = Owner()
    owner.send(1)
    answer = framed(b'{"row":1}')
    owner.connection.data_received(answer[:cut])
    owner.connection.close()
    assert owner.wire.aborted
    assert not owner.connection.reusable
    owner.connection.data_received(answer[cut:])
    assert owner.results == {}
