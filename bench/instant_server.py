"""The instant server in Python, for machines without a C compiler; about ten times slower than the one in C."""

import argparse
import asyncio
import json
import random
import re
import sys

import uvloop

MARKER = re.compile(rb"m#(\d{10})")
ANSWER = {
    "id": "null",
    "object": "text_completion",
    "created": 1737575137,
    "model": "mistralai/Mistral-7B-Instruct-v0.2",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 130}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 110, "total_tokens": 174, "completion_tokens": 64},
    "system_fingerprint": "0.1.0-native",
}
INFO = {
    "model_id": "mistralai/Mistral-7B-Instruct-v0.2",
    "max_concurrent_requests": 4096,
    "max_total_tokens": 8192,
    "max_input_length": 8191,
    "max_batch_total_tokens": 4_000_000,
    "version": "0.1.0",
}


VOCABULARY = ["".join(random.Random(word).choices("aeiourstnlmdpch", k=2 + word % 6)) for word in range(4_000)]
"""Made words: texts of them are compressed about as well as English is."""


def words(count: int, chance: random.Random) -> str:
    """Return a text of so many words."""
    return " ".join(VOCABULARY[chance.randrange(len(VOCABULARY))] for _ in range(count))


class Instant(asyncio.Protocol):
    """One connection."""

    delay_s = 0.0
    words = 0
    chance = random.Random(1)
    requests = 0
    markers: dict[bytes, int] = {}  # noqa: RUF012 - shared by all connections on purpose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._in = b""

    def data_received(self, data: bytes) -> None:
        """Answer the whole requests that have come."""
        self._in += data
        while (end := self._in.find(b"\r\n\r\n")) >= 0:
            head = self._in[:end].lower()
            at = head.find(b"content-length:")
            size = end + 4 + (int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0)
            if len(self._in) < size:
                return
            request, self._in = self._in[:size], self._in[size:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        kind = type(self)
        if request.startswith(b"GET /info"):
            self._send(json.dumps(INFO).encode())
        elif request.startswith(b"GET /stats"):
            most = max(kind.markers.values(), default=0)
            stats = {"requests": kind.requests, "markers": len(kind.markers), "most_runs_of_a_marker": most}
            self._send(json.dumps(stats).encode())
        else:
            kind.requests += 1
            found = MARKER.search(request)
            if found is not None:
                kind.markers[found[1]] = kind.markers.get(found[1], 0) + 1
            body = json.dumps(self._worded() if self.words else ANSWER).encode()
            if request.startswith(b"POST / "):
                body = b'[{"generated_text":"%s"}]' % (b"word " * 170)
            if kind.delay_s:
                asyncio.get_running_loop().call_later(kind.delay_s, self._send, body)
            else:
                self._send(body)

    def _worded(self) -> object:
        """Return an answer that no other row gets."""
        content = words(self.words, self.chance)
        return {**ANSWER, "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}

    def _send(self, body: bytes) -> None:
        assert isinstance(self._transport, asyncio.WriteTransport) or hasattr(self._transport, "write")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


async def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--words", type=int, default=0, help="answer each row with other words, so many")
    arguments = parser.parse_args()
    Instant.delay_s, Instant.words = arguments.delay_ms / 1000, arguments.words
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Instant, "127.0.0.1", 0, backlog=4096)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
