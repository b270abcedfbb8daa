"""Compressed files come out the same however they come in, and where they break does not depend on it."""

import gzip
import sys
from itertools import pairwise

import pytest
from lorax_batch_scheduler.ingest.decompression import Decompression
from lorax_batch_scheduler.ingest.fault import InvalidFileError
from lorax_batch_scheduler.ingest.limits import IngestLimits

from tests.unit.ingest.lines_of import Run, chat_line

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES = b"".join(chat_line(f"r{n}", f"{n * 7919}") for n in range(2_000))
GZIP = gzip.compress(LINES, mtime=0)


def plain_of(data: bytes, block_bytes: int, max_bytes: int = 1 << 30) -> tuple[bytes, str]:
    """Return what comes out, and the fault that it breaks at."""
    decompression, plain = Decompression(max_bytes), bytearray()
    try:
        for start in range(0, len(data), block_bytes):
            for block in decompression.feed(data[start : start + block_bytes]):
                plain += block
        for block in decompression.finish():
            plain += block
    except InvalidFileError as error:
        return bytes(plain), error.message
    return bytes(plain), ""


@pytest.mark.parametrize("block_bytes", [1, len(GZIP), len(GZIP) + 3, 1 << 20])
@pytest.mark.parametrize("padding", [b"\0" * 3, b"\0" * 100_000])
def test_zeros_behind_a_gzip_member_are_padding_wherever_blocks_end(padding, block_bytes):
    assert plain_of(GZIP + padding, block_bytes) == (LINES, "")
    assert plain_of(GZIP + padding + GZIP, block_bytes) == (LINES + LINES, "")


@pytest.mark.parametrize(
    "data",
    [
        GZIP[: len(GZIP) // 2] + b"\xff\xff" + GZIP[len(GZIP) // 2 :],
        zstd.compress(LINES)[:20_000] + bytes(50),
        GZIP + b"not gzip",
        GZIP[:-1],
        GZIP[:3],
        b"\x28\xb5\x2f\xfd",
    ],
    ids=["damaged gzip", "damaged zstd", "garbage behind", "cut at the end", "cut in the magic", "zstd magic alone"],
)
def test_a_broken_file_breaks_at_the_same_place_whatever_its_blocks(data):
    results = [plain_of(data, block_bytes) for block_bytes in (1, 1_000, 1 << 20)]
    assert results[0][1]
    assert all(one == other for one, other in pairwise(results))


@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_a_bomb_is_let_through_up_to_the_limit_exactly(block_bytes):
    plain, fault = plain_of(GZIP, block_bytes, max_bytes=12_345)
    assert plain == LINES[:12_345]
    assert "more than 12345 bytes" in fault


def test_a_first_line_of_the_longest_length_may_have_a_mark_and_a_carriage_return(tmp_path):
    line = chat_line("a", "x" * 300).rstrip()
    run = Run(tmp_path, b"\xef\xbb\xbf" + line + b"\r\n", limits=IngestLimits(max_line_bytes=len(line)))
    assert run.valid_lines == [1]


@pytest.mark.parametrize("limits", [IngestLimits(max_lines=2), IngestLimits(max_input_bytes=2 * len(chat_line("a")))])
def test_a_file_past_a_limit_is_told_at_the_same_line_whatever_its_blocks(tmp_path, limits):
    data = chat_line("a") + chat_line("b") + chat_line("c") * 5
    for number, block_bytes in enumerate((1, 100, 1 << 20)):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        run = Run(scratch, data, limits=limits, block_bytes=block_bytes)
        assert [(told.line, told.code) for told in run.told] == [(3, "file_too_large")]
