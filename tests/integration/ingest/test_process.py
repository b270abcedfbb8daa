"""The child process of an ingest: its end, its errors, its death."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from lorax_batch_scheduler.dataset import OnInvalid
from lorax_batch_scheduler.ingest.child import OPTIONS_FILE, OUTCOME_FILE, PARENT_DIED, IngestOptions, frame_header
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.process import IngestProcessError, ingest_in_process, packs_folder

from tests.faults.small_disk import SmallDisk
from tests.unit.ingest.lines_of import chat_line

OPTIONS = IngestOptions(on_invalid=OnInvalid.SKIP, limits=IngestLimits(pack_bytes=1_000))


async def blocks_of(*blocks: bytes) -> AsyncIterator[bytes]:
    """Yield blocks."""
    for block in blocks:
        yield block


def children() -> set[int]:
    """Return the ids of the processes that this one started."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


async def test_the_outcome_and_the_packs_come_back(tmp_path):
    lines = [chat_line(f"r{n}", "x" * 1_000, model=f"m{n % 9}") for n in range(1_000)]
    outcome = await ingest_in_process(blocks_of(b"".join(lines), b"{\n"), tmp_path, OPTIONS)
    assert (outcome.summary.row_count, outcome.summary.invalid.line_count) == (1_001, 1)
    sizes = {name: (packs_folder(tmp_path) / name).stat().st_size for name in outcome.packs}
    assert sum(sizes.values()) == sum(chunk.byte_count for chunk in outcome.chunks)


async def test_an_error_of_the_source_ends_the_process(tmp_path):
    async def broken() -> AsyncIterator[bytes]:
        yield chat_line("a")
        raise ConnectionResetError("the store went away")

    before = children()
    with pytest.raises(ConnectionResetError):
        await ingest_in_process(broken(), tmp_path, OPTIONS)
    assert children() == before


async def test_cancelling_kills_and_reaps_the_process(tmp_path):
    fed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield chat_line("a")
        fed.set()
        await asyncio.Event().wait()

    before = children()
    task = asyncio.create_task(ingest_in_process(endless(), tmp_path, OPTIONS))
    await fed.wait()
    assert len(children() - before) == 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert children() == before


async def test_the_death_of_the_process_is_told_with_its_last_words(tmp_path):
    async def source() -> AsyncIterator[bytes]:
        yield chat_line("a")
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        for _ in range(100):
            yield chat_line("b") * 1_000

    before = children()
    with pytest.raises(IngestProcessError, match=r"ended with status -9: it said nothing"):
        await ingest_in_process(source(), tmp_path, OPTIONS)


async def test_a_full_disk_is_told_from_a_process_that_is_broken(tmp_path):
    lines = [chat_line(f"r{n}", os.urandom(2_000).hex()) for n in range(1_000)]
    with SmallDisk(tmp_path / "scratch", 1 << 20) as disk, pytest.raises(OSError, match="no room to sort"):
        await ingest_in_process(blocks_of(*lines), disk.path, OPTIONS)


async def test_an_exception_in_the_process_is_told(tmp_path):
    (tmp_path / "packs").mkdir()
    with pytest.raises(IngestProcessError, match="FileExistsError"):
        await ingest_in_process(blocks_of(chat_line("a")), tmp_path, OPTIONS)


@pytest.mark.parametrize("sent", [b"", b"\x05", frame_header(5) + b"abc", frame_header(1) + b"\n"])
def test_an_input_without_an_end_is_not_taken_for_the_whole(tmp_path, sent):
    (tmp_path / OPTIONS_FILE).write_bytes(msgspec.json.encode(OPTIONS))
    command = [sys.executable, "-P", "-m", "lorax_batch_scheduler.ingest", str(tmp_path)]
    ended = subprocess.run(command, input=sent, capture_output=True, timeout=60, check=False)
    assert ended.returncode == PARENT_DIED
    assert not (tmp_path / OUTCOME_FILE).exists()
