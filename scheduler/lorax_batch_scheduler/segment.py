"""The stored form of results: the lines of some rows of one chunk, compressed, written in one transaction."""

import sys

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Result lines and the dataset lines they answer."""

    lines: list[int]
    text: bytes
    """JSON lines, each ending in a newline, in the order of `lines`."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Segment)


def encode_segment(segment: Segment) -> bytes:
    """Return the stored form; zstd level 1: 3.6 us a 1 KiB row against 4.1 us at level 3, and as small."""
    return zstd.compress(_encoder.encode(segment), level=1)


def decode_segment(blob: bytes) -> Segment:
    """Read a stored segment."""
    return _decoder.decode(zstd.decompress(blob))
