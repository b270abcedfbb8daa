"""What parent and child process of an ingest say to each other.

The bytes go to the child's standard input in frames: four bytes of length, then so many bytes; a frame of length 0 says
that this was all. An input that ends without it means that the parent died, and counts for nothing.
"""

import struct
from typing import BinaryIO, Final

import msgspec

from lorax_batch_scheduler.dataset import OnInvalid
from lorax_batch_scheduler.ingest.limits import IngestLimits

MAX_FRAME_BYTES: Final = 256 << 10
OPTIONS_FILE: Final = "options.json"
OUTCOME_FILE: Final = "outcome.msgpack"
ERRORS_FILE: Final = "errors.txt"
"""The child's standard error."""
PACKS_FOLDER: Final = "packs"
PARENT_DIED: Final = 3
"""The exit status of a child that saw its input end too early."""
NO_SCRATCH: Final = 74
"""The exit status (`EX_IOERR`) of a child that could not write, or read what it had written: mostly a full disk."""

_LENGTH: Final = struct.Struct("<I")
END_FRAME: Final = _LENGTH.pack(0)


class IngestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a run depends on beside its bytes."""

    on_invalid: OnInvalid
    limits: IngestLimits = IngestLimits()


class TruncatedInputError(Exception):
    """The frames ended without an end frame."""


def frame_header(byte_count: int) -> bytes:
    """Return what goes before a frame's bytes."""
    return _LENGTH.pack(byte_count)


def read_frame(stream: BinaryIO) -> bytes:
    """Return the bytes of the next frame, empty for the end. Raises `TruncatedInputError`."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise TruncatedInputError
    (length,) = _LENGTH.unpack(header)
    block = stream.read(length)
    if len(block) < length:
        raise TruncatedInputError
    return block
