"""What broken servers and proxies send in place of a row's answer: the bytes, and what becomes of the connection."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

HUGE_HEAD_BYTES = 1 << 20
HUGE_BODY_BYTES = 65 << 20
DRIP_SECONDS = 0.002
"""Real seconds between two bytes."""


class Then(enum.Enum):
    """What follows on the connection."""

    NEXT = "it takes the next request"
    CLOSE = "it is closed"
    SILENCE = "nothing more ever comes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubbish:
    """One wrong way to answer; `right` when the row's answer is in it all the same."""

    help: str
    make: Callable[[bytes, bytes], bytes]
    """Makes the bytes from the row's body and the body of the row answered before it."""
    then: Then = Then.NEXT
    right: bool = False
    drips: bool = False


def _answer(
    body: bytes,
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    length: int | None = None,
    headers: str = "",
) -> bytes:
    length = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{headers}content-length: {length}\r\n\r\n"
    return head.encode() + body


_PAGE = b"<!DOCTYPE html><html><head><title>proxy</title></head><body><h1>Something is wrong</h1></body></html>\n"
_ERROR = b'{"error":"Request failed during generation: Server error: it broke","error_type":"generation"}'
_HEADERS = {"html": "text/html; charset=utf-8", "text": "text/plain; charset=utf-8"}

RUBBISH = {
    "html-200": Rubbish(
        help="a web page with status 200", make=lambda _, __: _answer(_PAGE, content_type=_HEADERS["html"])
    ),
    "html-502": Rubbish(
        help="a proxy's web page with status 502",
        make=lambda _, __: _answer(_PAGE, status="502 Bad Gateway", content_type=_HEADERS["html"]),
    ),
    "half-body": Rubbish(
        help="half the body, then the end of the connection",
        make=lambda body, _: _answer(body[: len(body) // 2], length=len(body)),
        then=Then.CLOSE,
    ),
    "half-unframed": Rubbish(
        help="half the body without a length, then the end of the connection",
        make=lambda body, _: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + body[: len(body) // 2],
        then=Then.CLOSE,
    ),
    "short-body": Rubbish(
        help="a body shorter than its content-length, then silence",
        make=lambda body, _: _answer(body, length=len(body) + 10),
        then=Then.SILENCE,
    ),
    "long-body": Rubbish(
        help="a body longer than its content-length",
        make=lambda body, _: _answer(body + b"and more", length=len(body)),
    ),
    "bad-chunks": Rubbish(
        help="a chunked body whose chunk sizes are none",
        make=lambda body, _: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n%b\r\n0\r\n\r\n" % body,
    ),
    "two-answers": Rubbish(
        help="the answer of the row before it right behind its own",
        make=lambda body, before: _answer(body) + _answer(before),
        right=True,
    ),
    "other-row": Rubbish(help="the answer of the row before it", make=lambda _, before: _answer(before)),
    "error-in-200": Rubbish(help="a JSON error with status 200", make=lambda _, __: _answer(_ERROR)),
    "empty-body": Rubbish(help="status 200 without a body", make=lambda _, __: _answer(b"")),
    "broken-json": Rubbish(help="JSON that ends too early", make=lambda body, _: _answer(body[:-3])),
    "broken-utf8": Rubbish(
        help="a byte in a text that is no UTF-8",
        make=lambda body, _: _answer(body.replace(b'"content":"', b'"content":"\xff')),
    ),
    "other-shape": Rubbish(help="JSON of another shape", make=lambda _, __: _answer(b'{"result":"ok"}')),
    "wrong-type": Rubbish(
        help="the right body as text/plain",
        make=lambda body, _: _answer(body, content_type=_HEADERS["text"]),
        right=True,
    ),
    "interim": Rubbish(
        help="100 and 103 before the right answer",
        make=lambda body, _: (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + _answer(body)
        ),
        right=True,
    ),
    "switch-protocols": Rubbish(
        help="101, to another protocol",
        make=lambda _, __: b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n",
    ),
    "redirect": Rubbish(
        help="302 to the base path",
        make=lambda _, __: _answer(b"", status="302 Found", headers="location: /\r\n"),
    ),
    "huge-head": Rubbish(
        help="1 MiB of headers",
        make=lambda body, _: _answer(body, headers=f"x-padding: {'x' * 8000}\r\n" * (HUGE_HEAD_BYTES // 8000)),
    ),
    "huge-body": Rubbish(help="a body of 65 MiB", make=lambda _, __: _answer(b" " * HUGE_BODY_BYTES)),
    "slow-drip": Rubbish(
        help="the right answer byte by byte, 2 ms apart", make=lambda body, _: _answer(body), right=True, drips=True
    ),
}
