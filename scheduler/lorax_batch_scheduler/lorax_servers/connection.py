"""One keep-alive HTTP/1.1 connection: at most one request in flight, and a callback when its answer is complete.

This is the hot path. There is no task, future, timer or queue per request; the parser lives as long as the connection;
headers are not parsed but kept as bytes for whoever needs one (see `response_head`).
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from lorax_batch_scheduler.lorax_servers.response_head import header

MAX_ANSWER_BYTES = 64 << 20
"""A larger answer is refused: it is no answer to one row, and many of them at once would fill the memory."""
MAX_HEAD_BYTES = 64 << 10


class WireFault(StrEnum):
    """How an exchange ended without a complete answer."""

    REFUSED = "REFUSED"
    """No connection could be made."""
    RESET = "RESET"
    """The connection ended before the first byte of an answer."""
    CUT = "CUT"
    """The connection ended in the middle of an answer."""
    GARBAGE = "GARBAGE"
    """What came is not HTTP."""
    TOO_LARGE = "TOO_LARGE"
    """The answer is longer than an answer may be."""
    TIMED_OUT = "TIMED_OUT"
    """No answer within the time that a row has."""
    STALLED = "STALLED"
    """The server lives but completes nothing; the connection was closed to free what the row held there."""


class Connection(asyncio.Protocol):
    """One connection to a server. `on_answer` gets the status and the body; `on_lost` gets the fault and a detail."""

    __slots__ = (
        "_body",
        "_complete",
        "_feed",
        "_more_body",
        "_on_answer",
        "_on_lost",
        "_parser",
        "_raw",
        "_size",
        "_transport",
        "answers",
        "busy",
        "exchange",
        "reusable",
        "sent_at",
    )

    def __init__(
        self,
        on_answer: Callable[["Connection", int, bytes], None],
        on_lost: Callable[["Connection", WireFault, str], None],
    ) -> None:
        self._on_answer = on_answer
        self._on_lost = on_lost
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data
        self._transport: asyncio.Transport | None = None
        self._raw = b""
        self._body: bytes | None = None
        self._more_body: list[bytes] | None = None
        self._size = 0
        self._complete = False
        self.exchange: Any = None
        """What the owner wants to know again when the answer comes; the connection never looks at it."""
        self.busy = False
        self.reusable = False
        """Whether another request may be sent once the answer is there."""
        self.answers = 0
        self.sent_at = 0.0
        """When the owner sent the request in flight, by its own clock."""

    @property
    def raw(self) -> bytes:
        """The bytes of the last answer up to its body or beyond, for `response_head`."""
        return self._raw

    def send(self, request: bytes) -> None:
        """Send a request; the connection must be reusable and not busy."""
        self.busy = True
        self._raw = b""
        transport = self._transport
        if transport is not None:
            transport.write(request)

    def close(self) -> None:
        """Close without a word to the owner; an answer still to come is lost."""
        self.busy = self.reusable = False
        self._forget_parser()
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop calls -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from asyncio's
        self.reusable = True

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self._fail(WireFault.GARBAGE, f"{len(data)} bytes came that nobody asked for")
            return
        if not self._raw:
            self._raw = data
        elif self._body is None:
            self._raw += data
        try:
            self._feed(data)
        except HttpParserUpgrade:
            self._fail(WireFault.GARBAGE, "the server wants to switch protocols")
        except HttpParserError as error:
            self._fail(WireFault.GARBAGE, f"{error} in {data[:80]!r}")
        else:
            if self._complete:
                self._answered()
            else:
                self._check_size()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._transport = None
        if self.busy and exc is None and self._ends_with_connection():
            self._answered()
        else:
            fault = WireFault.CUT if self.busy and self._raw else WireFault.RESET
            self._fail(fault, str(exc) if exc else "the server closed the connection")

    # --- what the parser calls -----------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; most answers come in one."""
        self._size += len(body)
        if self._complete:
            self.reusable = False  # the body of a second answer to one request
        elif self._body is None:
            self._body = body
        elif self._more_body is None:
            self._more_body = [self._body, body]
        else:
            self._more_body.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer is there; it is handed over when the parser has returned."""
        parser = self._parser
        if parser is None or parser.get_status_code() < 200:
            self._body = self._more_body = None
            return  # an interim answer such as 100 Continue: the real one follows
        # Two answers to one request: the first is handed over, and nothing more is trusted.
        self.reusable = parser.should_keep_alive() and not self._complete
        self._complete = True

    # --- inside --------------------------------------------------------------------------------------------------

    def _answered(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        body = self._body or b""
        if self._more_body is not None:
            body = b"".join(self._more_body)
            self._more_body = None
        self._body = None
        self._size = 0
        self._complete = self.busy = False
        self.answers += 1
        self._on_answer(self, status, body)

    def _check_size(self) -> None:
        if self._size > MAX_ANSWER_BYTES:
            self._fail(WireFault.TOO_LARGE, f"the answer exceeds {MAX_ANSWER_BYTES >> 20} MiB")
        elif self._body is None and len(self._raw) > MAX_HEAD_BYTES and b"\r\n\r\n" not in self._raw:
            self._fail(WireFault.GARBAGE, f"the head of the answer exceeds {MAX_HEAD_BYTES} bytes")

    def _fail(self, fault: WireFault, detail: str) -> None:
        self.busy = self.reusable = False
        if self._parser is None:
            return
        self._forget_parser()
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(self, fault, detail)

    def _forget_parser(self) -> None:
        # It holds this object's methods and this object holds it: cut the cycle, so that memory goes at once.
        self._parser = None
        self._feed = _feed_nobody

    def _ends_with_connection(self) -> bool:
        """Tell whether the body is one that the end of the connection completes (HTTP/1.0 style)."""
        return (
            self._body is not None
            and header(self._raw, b"content-length") is None
            and header(self._raw, b"transfer-encoding") is None
        )


def _feed_nobody(_data: bytes) -> None:
    """Take the place of the parser of a connection that is closed."""
