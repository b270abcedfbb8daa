"""Chunks of rows to run, and a sink that remembers their results."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from lorax_batch_scheduler.chunk import CHAT, GENERATE, Chunk
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.job import RowError
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.work import ChunkWork, RowOutcome


def make_work(
    count: int = 1,
    *,
    job_id: str = "job",
    chunk_no: int = 0,
    adapter: str = "",
    texts: Sequence[str] | None = None,
    endpoint: str = CHAT,
    max_tokens: int = 16,
    prompt_tokens: int = 10,
    schemas: Sequence[int] | None = None,
    fields: dict[str, Any] | None = None,
    authorization: bytes | None = None,
) -> ChunkWork:
    """Return a chunk as a scheduler gives it; row i of chunk c carries the marker row-JOB-C-i."""
    texts = texts or [""] * count
    tails = []
    for row, text in enumerate(texts):
        content = f"row-{job_id}-{chunk_no}-{row} {text}"
        if endpoint == GENERATE:
            tails.append(b'},"inputs":' + msgspec.json.encode(content) + b"}")
        else:
            body = {"messages": [{"role": "user", "content": content}], **(fields or {})}
            tails.append(b"," + msgspec.json.encode(body)[1:])
    first = chunk_no * 1_000 + 1
    chunk = Chunk(
        endpoint=endpoint,
        model=adapter,
        adapter_source="",
        lines=[first + row for row in range(len(texts))],
        custom_ids=[b'"%s-%d-%d"' % (job_id.encode(), chunk_no, row) for row in range(len(texts))],
        prompt_tokens=[prompt_tokens] * len(texts),
        max_tokens=[max_tokens] * len(texts),
        schemas=list(schemas or [0] * len(texts)),
        tails=tails,
    )
    lease = LeasedChunk(
        job_id=job_id,
        chunk_no=chunk_no,
        epoch=1,
        kind=ChunkKind.ROWS,
        endpoint=endpoint,
        model=adapter,
        adapter_source="",
        row_count=len(texts),
        done=0,
        pack_key="",
        offset=0,
        byte_count=0,
    )
    work = ChunkWork(
        lease=lease,
        chunk=chunk,
        adapter=adapter,
        authorization=authorization,
        default_max_tokens=16,
        adapter_source="",
    )
    work.waiting.extend(range(len(texts)))
    return work


class RecordingSink:
    """Remembers results; a row that gets a second one is an error."""

    def __init__(self) -> None:
        self.congested = False
        self.send_until = math.inf
        self.lines: dict[tuple[str, int], dict[str, Any]] = {}
        self.errors: dict[tuple[str, int], RowError] = {}
        self.order: list[tuple[str, int]] = []
        self.tokens = (0, 0)
        self.on_add: Callable[[], None] = lambda: None

    def add(
        self,
        lease: LeasedChunk,
        row: int,
        line: int,
        text: bytes,
        outcome: RowOutcome,
        prompt_tokens: int,
        completion_tokens: int,
        error: RowError | None = None,
    ) -> None:
        """Take a result."""
        key = (lease.job_id, line)
        assert key not in self.lines, f"a second result for {key}"
        assert text.count(b"\n") == 1
        assert text.endswith(b"\n")
        assert (outcome is RowOutcome.SUCCEEDED) == (error is None)
        self.lines[key] = msgspec.json.decode(text)
        self.order.append(key)
        self.tokens = (self.tokens[0] + prompt_tokens, self.tokens[1] + completion_tokens)
        if error is not None:
            self.errors[key] = error
        self.on_add()

    @property
    def codes(self) -> dict[int, str]:
        """The error codes by line."""
        return {line: error.code for (_, line), error in self.errors.items()}
