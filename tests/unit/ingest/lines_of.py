"""Lines to feed to ingest, and what came out of it."""

import json
from pathlib import Path
from typing import Any

from lorax_batch_scheduler.chunk import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    GENERATE,
    Chunk,
    InvalidChunk,
    decode_chunk,
    decode_invalid_chunk,
    max_tokens_field,
    request_head,
)
from lorax_batch_scheduler.dataset import ChunkKind, InvalidLine, OnInvalid
from lorax_batch_scheduler.ingest.engine import Ingest
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.line import BadLine, LineReader
from lorax_batch_scheduler.ingest.outcome import IngestOutcome
from lorax_batch_scheduler.ingest.request import Row

MESSAGES = [{"role": "user", "content": "Hi there"}]
MINIMAL: dict[str, dict[str, object]] = {
    CHAT: {"model": "", "messages": MESSAGES},
    COMPLETIONS: {"model": "", "prompt": "Once"},
    EMBEDDINGS: {"model": "", "input": "Once"},
    GENERATE: {"inputs": "Once"},
}


def line_of(body: object, url: object = CHAT, custom_id: object = "a", **fields: object) -> bytes:
    """Return a line of a dataset."""
    row = {"custom_id": custom_id, "method": "POST", "url": url, "body": body} | fields
    return json.dumps(row).encode()


def chat(**fields: object) -> dict[str, object]:
    """Return the body of a chat."""
    return MINIMAL[CHAT] | fields


def chat_line(custom_id: str, text: str = "Hi there", model: str = "", **fields: object) -> bytes:
    """Return a valid line with its newline."""
    messages = [{"role": "user", "content": text}]
    return line_of(chat(messages=messages, model=model, **fields), custom_id=custom_id) + b"\n"


def read(line: bytes, limits: IngestLimits | None = None) -> Row | BadLine | None:
    """Read a line as if its model had been seen before."""
    reader = LineReader(limits or IngestLimits())
    slow = reader.examine(line)
    fast = reader.read(line)
    assert fast == slow or (isinstance(fast, BadLine) and isinstance(slow, BadLine) and str(fast) == str(slow))
    return fast


def valid(body: object, url: str = CHAT, limits: IngestLimits | None = None) -> Row:
    """Read a line that must be a row."""
    row = read(line_of(body, url), limits)
    assert isinstance(row, Row), row
    return row


def sent(row: Row, default_max_tokens: int = 99) -> dict[str, Any]:
    """Return the body that a server will get."""
    return _body(row.key, row.max_tokens or default_max_tokens, row.tail)


def sent_by(chunk: Chunk, row: int, default_max_tokens: int = 99) -> dict[str, Any]:
    """Return the body that a server will get of a row of a chunk."""
    key = (chunk.endpoint, chunk.model, chunk.adapter_source)
    return _body(key, chunk.max_tokens[row] or default_max_tokens, chunk.tails[row])


def _body(key: tuple[str, str, str], max_tokens: int, tail: bytes) -> dict[str, Any]:
    head = request_head(*key)
    tokens = max_tokens_field(key[0], head)
    body = json.loads(head + (tokens % max_tokens if tokens else b"") + tail)
    assert isinstance(body, dict)
    return body


def fault(line: bytes, limits: IngestLimits | None = None) -> tuple[str, str]:
    """Read a line that must be bad and return (code, param)."""
    bad = read(line, limits)
    assert isinstance(bad, BadLine), bad
    assert bad.error.message
    return bad.error.code, bad.error.param


class Run:
    """What an ingest made of some bytes."""

    def __init__(
        self,
        scratch: Path,
        data: bytes,
        *,
        on_invalid: OnInvalid = OnInvalid.SKIP,
        limits: IngestLimits | None = None,
        block_bytes: int = 1 << 20,
    ) -> None:
        self.told: list[InvalidLine] = []
        engine = Ingest(scratch, limits or IngestLimits(), on_invalid, listener=self.told.append)
        try:
            for start in range(0, len(data), block_bytes):
                engine.feed(data[start : start + block_bytes])
            self.outcome: IngestOutcome = engine.finish()
        finally:
            engine.close()
        assert sorted(path.name for path in scratch.iterdir()) == self.outcome.packs
        self.chunks: list[Chunk] = []
        self.invalid: list[InvalidChunk] = []
        for number, entry in enumerate(self.outcome.chunks):
            assert entry.chunk_no == number
            pack = (scratch / self.outcome.packs[entry.pack]).read_bytes()
            data = pack[entry.offset : entry.offset + entry.byte_count]
            if entry.kind is ChunkKind.ROWS:
                self.chunks.append(decode_chunk(data))
                self._check(self.chunks[-1].lines, entry.row_count, entry.first_line, entry.last_line)
            else:
                self.invalid.append(decode_invalid_chunk(data))
                self._check(self.invalid[-1].lines, entry.row_count, entry.first_line, entry.last_line)

    def _check(self, lines: list[int], row_count: int, first_line: int, last_line: int) -> None:
        assert (len(lines), min(lines), max(lines)) == (row_count, first_line, last_line)

    @property
    def valid_lines(self) -> list[int]:
        """The lines that are rows, sorted."""
        return sorted(line for chunk in self.chunks for line in chunk.lines)

    @property
    def invalid_lines(self) -> list[int]:
        """The lines that are not, sorted."""
        return sorted(line for chunk in self.invalid for line in chunk.lines)

    @property
    def codes(self) -> dict[str, int]:
        """How many lines of each code there are."""
        return {code.code: code.line_count for code in self.outcome.summary.invalid.codes}
