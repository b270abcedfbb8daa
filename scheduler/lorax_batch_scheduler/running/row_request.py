"""The HTTP request of a row: what all rows of a chunk share is made once, the rest is put together per row."""

from lorax_batch_scheduler.chunk import EMBEDDINGS, GENERATE, max_tokens_field, request_head
from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.lorax_servers.address import ServerAddress
from lorax_batch_scheduler.work import ChunkWork

SET_ASIDE_TOKENS = 32
"""KV tokens that no row gets: a block is kept for health checks, and reservations are rounded up."""
DOES_NOT_FIT = -1


class RowRequest:
    """Makes the requests of one chunk for one server."""

    __slots__ = ("_before_length", "_field", "_head", "_tails", "max_tokens", "prompt_tokens")

    def __init__(self, work: ChunkWork, address: ServerAddress, limits: ServerLimits) -> None:
        chunk = work.chunk
        model = work.adapter
        if not model and not limits.is_lorax and chunk.endpoint != GENERATE:
            model = limits.model_id
        source = work.adapter_source if limits.is_lorax and work.adapter else ""
        self._head = request_head(chunk.endpoint, model, source)
        self._field = max_tokens_field(chunk.endpoint, self._head)
        self._tails = chunk.tails
        self.prompt_tokens = chunk.prompt_tokens
        """Of each row, estimated."""
        self.max_tokens = [
            _prompt_only(prompt, limits)
            if chunk.endpoint == EMBEDDINGS
            else _cut(asked or work.default_max_tokens, prompt, limits)
            for asked, prompt in zip(chunk.max_tokens, chunk.prompt_tokens, strict=True)
        ]
        """What each row may ask for; 0: it sets no limit and none is known; DOES_NOT_FIT: its prompt is too long."""
        lines = [
            b"POST %s%s HTTP/1.1" % (address.path_prefix.encode(), chunk.endpoint.encode()),
            b"Host: " + address.host_header,
            b"Content-Type: application/json",
        ]
        if work.authorization is not None:
            lines.append(b"Authorization: " + work.authorization)
        if work.traceparent:
            lines.append(b"traceparent: " + work.traceparent)
        self._before_length = b"\r\n".join([*lines, b"Content-Length: "])

    def build(self, row: int, max_tokens: int) -> bytes:
        """Return the bytes to send."""
        tail = self._tails[row]
        if max_tokens > 0:
            field = self._field % max_tokens
        else:
            field = b""
            if tail.startswith(b",") and self._head.endswith(b"{"):
                tail = tail[1:]
        head = self._head
        return b"%s%d\r\n\r\n%s%s%s" % (self._before_length, len(head) + len(field) + len(tail), head, field, tail)


def _cut(asked: int, prompt: int, limits: ServerLimits) -> int:
    # Prompt lengths are estimates. Half of one is sure enough to cut by; the rest is left to the server, whose refusal
    # carries the real length, so that no answer is cut short by a bad guess.
    room: int | None = None
    if limits.max_total_tokens is not None:
        room = limits.max_total_tokens - (prompt // 2 if asked else prompt)
        if not asked:
            room = max(room, 1)
    if limits.max_batch_total_tokens is not None:
        fitting = limits.max_batch_total_tokens - SET_ASIDE_TOKENS - prompt
        room = fitting if room is None else min(room, fitting)
    if room is None:
        return asked
    if room < 1:
        return DOES_NOT_FIT
    return min(asked, room) if asked else room


def _prompt_only(prompt: int, limits: ServerLimits) -> int:
    longest = limits.max_input_length or limits.max_total_tokens
    return DOES_NOT_FIT if longest is not None and prompt // 2 > longest else 0
