"""What bad input costs: the memory of the ingest process is bounded whatever comes in, and so is its time a byte."""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from lorax_batch_scheduler.dataset import OnInvalid
from lorax_batch_scheduler.ingest.child import (
    END_FRAME,
    MAX_FRAME_BYTES,
    OPTIONS_FILE,
    OUTCOME_FILE,
    IngestOptions,
    frame_header,
)
from lorax_batch_scheduler.ingest.outcome import IngestOutcome

from tests.fuzz.nasty_files import schema
from tests.unit.ingest.lines_of import chat_line, line_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_GROWTH_BYTES = 100 << 20
"""Above an ingest of next to nothing, or above this process when that is larger: a child starts with its peak."""
MiB = 1 << 20


def repeated(piece: bytes, total_bytes: int) -> Iterator[bytes]:
    """Yield a piece again and again."""
    block = piece * max(1, MAX_FRAME_BYTES // len(piece))
    for _ in range(total_bytes // len(block)):
        yield block


def blocks_of(data: bytes) -> Iterator[bytes]:
    """Yield bytes as the service sends them."""
    for start in range(0, len(data), MAX_FRAME_BYTES):
        yield data[start : start + MAX_FRAME_BYTES]


def ingest(scratch: Path, blocks: Iterator[bytes]) -> tuple[IngestOutcome, int, float, int]:
    """Ingest in a process of its own; return the outcome, its peak memory, its CPU seconds and the bytes it was fed."""
    scratch.mkdir()
    (scratch / OPTIONS_FILE).write_bytes(msgspec.json.encode(IngestOptions(on_invalid=OnInvalid.SKIP)))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "lorax_batch_scheduler.ingest", str(scratch)], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    fed = 0
    with process.stdin as stdin:
        for block in blocks:
            stdin.write(frame_header(len(block)) + block)
            fed += len(block)
        stdin.write(END_FRAME)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    outcome = msgspec.msgpack.decode((scratch / OUTCOME_FILE).read_bytes(), type=IngestOutcome)
    return outcome, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime, fed


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, float]:
    """Return the memory and the CPU seconds of an ingest of next to nothing."""
    _, peak_bytes, cpu_s, _ = ingest(tmp_path_factory.mktemp("small") / "scratch", iter([chat_line("a")]))
    return peak_bytes, cpu_s


HUNGRY = {
    "a line of 64 MiB": lambda: repeated(b"x", 64 * MiB),
    "lines as long as they may be": lambda: repeated(chat_line("a", "x" * 2_000_000), 40 * MiB),
    "lines of one byte": lambda: repeated(b"x\n", MiB // 2),
    "empty lines": lambda: repeated(b"\n", 2 * MiB),
    "a bomb of zeros": lambda: blocks_of(gzip.compress(bytes(256 * MiB), 9, mtime=0)),
    "a bomb of bombs": lambda: blocks_of(zstd.compress(zstd.compress(bytes(256 * MiB)) * 64)),
    "gzip members of nothing": lambda: repeated(gzip.compress(b"", mtime=0), MiB),
    "brackets": lambda: repeated(b"[", 8 * MiB),
    "messages of nothing": lambda: repeated(line_of({"model": "", "messages": [None] * 300_000}) + b"\n", 8 * MiB),
    "an adapter a row": lambda: (
        b"".join(chat_line(f"{block}-{n}", model=f"m{block}-{n}") for n in range(1_000)) for block in range(20)
    ),
    "schemas with long names": lambda: iter(
        [schema({"properties": {"n" * 100_000: {"anyOf": [{"type": "string"}] * 10_000}}}) * 2]
    ),
}


@pytest.mark.parametrize("name", HUNGRY)
def test_memory_and_time_of_an_ingest_are_bounded(name, small, tmp_path):
    outcome, peak_bytes, cpu_s, fed = ingest(tmp_path / "scratch", HUNGRY[name]())
    print(f"{name}: {peak_bytes - small[0]:,} bytes more, {cpu_s:.2f} s for {fed:,} bytes")
    assert outcome.summary.byte_count == fed
    assert peak_bytes - small[0] < MAX_GROWTH_BYTES
    # A decompressed byte costs as well as one that came; the bombs here are 256 MiB large.
    assert cpu_s - small[1] < 2 + fed * 8e-6
