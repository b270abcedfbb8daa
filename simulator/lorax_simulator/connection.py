"""One HTTP/1.1 connection: requests in, one at a time, and their answers out."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import httptools

from lorax_simulator.errors import PlainTextError, body_too_large
from lorax_simulator.rubbish import Then

BODY_LIMIT_BYTES = 2 * 1024 * 1024

_REASONS = {int(status): status.phrase for status in HTTPStatus}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in; header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """Answers requests in order; `handle` gets each and calls `answer` (or streams) at some later time."""

    def __init__(
        self,
        handle: Callable[[Request, "Connection"], None],
        on_made: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self._handle = handle
        self._on_made = on_made
        self._on_lost = on_lost
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[tuple[Request | PlainTextError, bool]] = deque()  # the flag: keep alive after it
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._streaming = False
        self._keep_alive = True
        self._closing = False
        self.busy = False
        self.on_drop: Callable[[], None] | None = None  # called when the peer hangs up before its answer

    # Transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
            self._serve_next()
        except httptools.HttpParserCallbackError:
            raise  # our own mistake, not the peer's
        except httptools.HttpParserError:
            if not self.busy:
                self._closing = True
                self._write_head(400, (), 0)
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._backlog.clear()
        self._on_lost(self)
        drop, self.on_drop = self.on_drop, None
        if drop is not None:
            drop()

    # Parser callbacks

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= BODY_LIMIT_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._body_bytes > BODY_LIMIT_BYTES:
            self._body = []
            self._backlog.append((body_too_large(), False))
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, query, self._headers, b"".join(self._body))
        self._backlog.append((request, self._parser.should_keep_alive()))

    # Answers

    def answer(
        self, status: int, body: bytes = b"", content_type: str = "application/json", headers: Headers = ()
    ) -> None:
        """Send one whole answer; does nothing when the peer is gone."""
        if body:
            headers = (("content-type", content_type), *headers)
        self._write_head(status, headers, len(body), body)
        self._end_exchange()

    def answer_raw(self, data: bytes, then: Then) -> None:
        """Send these very bytes as the answer."""
        if self._transport is None:
            return
        self._transport.write(data)
        if then is Then.SILENCE:
            self.on_drop = None
        else:
            self._closing = self._closing or then is Then.CLOSE
            self._end_exchange()

    def drip(self, data: bytes, pause: float) -> None:
        """Send these very bytes as the answer, one at a time."""
        if self._transport is None:
            return
        self._transport.write(data[:1])
        if len(data) > 1:
            asyncio.get_running_loop().call_later(pause, self.drip, data[1:], pause)
        else:
            self._end_exchange()

    def start_stream(self) -> None:
        """Begin a server-sent event stream."""
        if self._transport is not None:
            self._streaming = True
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
                b"transfer-encoding: chunked\r\ndate: " + formatdate(usegmt=True).encode() + b"\r\n\r\n"
            )

    def send_event(self, data: bytes) -> None:
        """Send one event; the stream starts by itself."""
        if not self._streaming:
            self.start_stream()
        if self._transport is not None:
            event = b"data: " + data + b"\n\n"
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    def end_stream(self) -> None:
        """End the stream; the connection can be used again."""
        if self._transport is not None:
            self._transport.write(b"0\r\n\r\n")
        self._streaming = False
        self._end_exchange()

    def reset(self) -> None:
        """Drop the connection so that the peer sees a reset."""
        if self._transport is not None:
            peer: socket.socket = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()

    def close(self) -> None:
        """Close after what was written is sent; a request under way is still answered."""
        self._closing = True
        if self._transport is not None and not self.busy:
            self._transport.close()

    def _serve_next(self) -> None:
        while self._backlog and not self.busy and not self._closing:
            request, self._keep_alive = self._backlog.popleft()
            self.busy = True
            if isinstance(request, PlainTextError):
                self.answer(request.status, request.text.encode(), "text/plain; charset=utf-8")
            else:
                self._handle(request, self)

    def _write_head(self, status: int, headers: Headers, body_bytes: int, body: bytes = b"") -> None:
        if self._transport is None:
            return
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append(f"content-length: {body_bytes}")
        if not self._keep_alive or self._closing:
            lines.append("connection: close")
        lines.append(f"date: {formatdate(usegmt=True)}\r\n\r\n")
        self._transport.write("\r\n".join(lines).encode("latin-1", "replace") + body)

    def _end_exchange(self) -> None:
        self.busy = False
        self.on_drop = None
        if self._transport is None:
            return
        if self._closing or not self._keep_alive:
            self._closing = True
            self._transport.close()
        elif self._backlog:
            # Not at once: a chain of pipelined requests must not become a chain of calls.
            asyncio.get_running_loop().call_soon(self._serve_next)
