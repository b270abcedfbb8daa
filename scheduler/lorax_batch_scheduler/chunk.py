"""The stored form of chunks: rows of one adapter, columns beside each other, compressed.

A row's request is stored without what depends on the job or the server: its `model`, `adapter_source` and `max_tokens`
(for `/generate` the same inside `parameters`). What is left is its *tail*, so that
`request_head + max_tokens_field + tail` is the body to send: see `request_head`.
"""

import sys
from typing import Final

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_CHUNK_ROWS: Final = 1_000
MAX_CHUNK_BYTES: Final = 1 << 20
"""Of the tails, before compression; a single larger row makes a chunk of its own."""

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
EMBEDDINGS: Final = "/v1/embeddings"
GENERATE: Final = "/generate"
ENDPOINTS: Final = (CHAT, COMPLETIONS, EMBEDDINGS, GENERATE)


class Chunk(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Rows of one (endpoint, model, adapter source). All lists have one entry a row."""

    endpoint: str
    model: str
    """As the rows wrote it: an adapter id, a name of the base model, or ""."""
    adapter_source: str
    """As the rows wrote it; "" when they do not say."""
    lines: list[int]
    custom_ids: list[bytes]
    """As JSON strings, quotes included."""
    prompt_tokens: list[int]
    """Estimated."""
    max_tokens: list[int]
    """0 where the row sets none."""
    schemas: list[int]
    """A hash of the JSON schema (or the tools) that constrains the row; 0 for none."""
    tails: list[bytes]
    """Begin with `,` or `}`; for `/generate`, the rest of `parameters` closes first."""


class InvalidChunk(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Lines that are no valid rows. All lists have one entry a line."""

    lines: list[int]
    custom_ids: list[str | None]
    """None where the line holds none that can be read."""
    codes: list[str]
    params: list[str]
    messages: list[str]


_encoder = msgspec.msgpack.Encoder()
_rows_decoder = msgspec.msgpack.Decoder(Chunk)
_invalid_decoder = msgspec.msgpack.Decoder(InvalidChunk)


def encode_chunk(chunk: Chunk | InvalidChunk) -> bytes:
    """Return the stored form; zstd level 1, which costs about 1.5 us a 500-byte row."""
    return zstd.compress(_encoder.encode(chunk), level=1)


def decode_chunk(data: bytes) -> Chunk:
    """Read a chunk of kind ROWS."""
    return _rows_decoder.decode(zstd.decompress(data))


def decode_invalid_chunk(data: bytes) -> InvalidChunk:
    """Read a chunk of kind INVALID."""
    return _invalid_decoder.decode(zstd.decompress(data))


def request_head(endpoint: str, model: str, adapter_source: str) -> bytes:
    """Return what every body of a chunk begins with, up to the place of `max_tokens`.

    The body of a row is this, then `max_tokens_field`, then the row's tail. `model` is what the server must see: the
    adapter id, or "" for the base model.
    """
    if endpoint == GENERATE:
        fields = {"adapter_id": model, "adapter_source": adapter_source}
        inner = msgspec.json.encode({key: value for key, value in fields.items() if value})[1:-1]
        return b'{"parameters":{' + inner
    fields = {"model": model} | ({"adapter_source": adapter_source} if adapter_source else {})
    return msgspec.json.encode(fields)[:-1]


def max_tokens_field(endpoint: str, head: bytes) -> bytes:
    """Return the %-format of the field that limits a row's output, to stand behind `head`; embeddings have none."""
    if endpoint == EMBEDDINGS:
        return b""
    if endpoint == GENERATE:
        return b'"max_new_tokens":%d' if head.endswith(b"{") else b',"max_new_tokens":%d'
    return b',"max_tokens":%d'
