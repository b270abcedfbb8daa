"""Bytes as they come to plain blocks: gzip and zstd are told by their first bytes."""

import sys
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from lorax_batch_scheduler.ingest.fault import Code, InvalidFileError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_SNIFFED_BYTES: Final = 4
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"
"""After a byte from 0x50 to 0x5f."""
_BLOCK_BYTES: Final = 1 << 20


class Decompression:
    """One file on its way through. Raises `InvalidFileError` where the file can't be read on."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._head = b""
        self._codec: _Codec | None = None

    def feed(self, block: bytes) -> Iterator[bytes]:
        """Yield the plain bytes that a block brings, in blocks of bounded size."""
        if self._codec is None:
            self._head += block
            if len(self._head) < _SNIFFED_BYTES:
                return
            block, self._head = self._head, b""
            self._codec = _codec(block)
        for plain in self._codec.feed(block):
            yield self._count(plain)

    def finish(self) -> Iterator[bytes]:
        """Yield what is left."""
        if self._codec is None:
            yield self._head
        elif not self._codec.complete:
            raise InvalidFileError(Code.CORRUPT_COMPRESSION, "the compressed file ends too early: upload all of it")

    def _count(self, plain: bytes) -> bytes:
        self._bytes += len(plain)
        if self._bytes > self._max_bytes:
            message = f"the file has more than {self._max_bytes} bytes when decompressed: split it"
            raise InvalidFileError(Code.FILE_TOO_LARGE, message)
        return plain


class _Codec(Protocol):
    @property
    def complete(self) -> bool: ...

    def feed(self, block: bytes) -> Iterator[bytes]: ...


def _codec(head: bytes) -> _Codec:
    if head.startswith(_GZIP):
        return _Gzip()
    if head.startswith(_ZSTD) or (0x50 <= head[0] <= 0x5F and head[1:4] == _ZSTD_SKIPPABLE):
        return _Zstd()
    return _Plain()


class _Plain:
    complete = True

    def feed(self, block: bytes) -> Iterator[bytes]:
        for start in range(0, len(block), _BLOCK_BYTES):
            yield block[start : start + _BLOCK_BYTES]


class _Gzip:
    """One or more gzip members behind each other."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self.complete = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        while block:
            if self._member.eof:
                self._member, self.complete = zlib.decompressobj(wbits=31), False
            try:
                plain = self._member.decompress(block, _BLOCK_BYTES)
                while plain:
                    yield plain
                    plain = self._member.decompress(self._member.unconsumed_tail, _BLOCK_BYTES)
            except zlib.error as error:
                raise _corrupt("gzip", error) from None
            self.complete = self._member.eof
            block = self._member.unused_data
            # Some tools pad the end with zeros.
            if self.complete and not block.strip(b"\0"):
                return


class _Zstd:
    """One or more zstd frames behind each other."""

    def __init__(self) -> None:
        self._frame = zstd.ZstdDecompressor()
        self.complete = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        while block:
            if self._frame.eof:
                self._frame, self.complete = zstd.ZstdDecompressor(), False
            try:
                plain = self._frame.decompress(block, _BLOCK_BYTES)
                while plain or not (self._frame.eof or self._frame.needs_input):
                    yield plain
                    plain = b"" if self._frame.eof else self._frame.decompress(b"", _BLOCK_BYTES)
            except zstd.ZstdError as error:
                raise _corrupt("zstd", error) from None
            self.complete = self._frame.eof
            block = self._frame.unused_data if self._frame.eof else b""


def _corrupt(kind: str, error: Exception) -> InvalidFileError:
    return InvalidFileError(Code.CORRUPT_COMPRESSION, f"the file starts like {kind} but is broken: {error}")
