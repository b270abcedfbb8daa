"""Runs an ingest in a process of its own, so that its work never holds up the event loop of the service."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from lorax_batch_scheduler.errors import LoraxBatchError
from lorax_batch_scheduler.ingest.child import (
    END_FRAME,
    ERRORS_FILE,
    MAX_FRAME_BYTES,
    NO_SCRATCH,
    OPTIONS_FILE,
    OUTCOME_FILE,
    PACKS_FOLDER,
    IngestOptions,
    frame_header,
)
from lorax_batch_scheduler.ingest.outcome import IngestOutcome

_SHOWN_ERROR_BYTES: Final = 2_000
_FINISH_TIMEOUT_S: Final = 3_600.0
"""From the last byte to the end of the process; 100 million rows take minutes."""


class IngestProcessError(LoraxBatchError):
    """The process that checks a dataset died; the message holds the last it said. Trying again may help."""

    reason = "INGEST_PROCESS"


async def ingest_in_process(
    source: AsyncIterator[bytes], scratch: Path, options: IngestOptions, *, python: str = sys.executable
) -> IngestOutcome:
    """Check the bytes of `source` and leave their packs in `packs_folder(scratch)`.

    `scratch` must be an empty directory. When cancelled, or when `source` raises, the process is killed and waited for.

    *Raises*: `IngestProcessError`, `OSError` for a full or broken disk, and what `source` raises.
    """
    await asyncio.to_thread((scratch / OPTIONS_FILE).write_bytes, msgspec.json.encode(options))
    with (scratch / ERRORS_FILE).open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            # -P: what lies in the working directory is not imported.
            *(python, "-P", "-m", "lorax_batch_scheduler.ingest", str(scratch)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        await _send(source, process)
        async with asyncio.timeout(_FINISH_TIMEOUT_S):
            status = await process.wait()
    except TimeoutError:
        raise IngestProcessError(f"the ingest process did not end within {_FINISH_TIMEOUT_S:.0f} s") from None
    finally:
        await _end(process)
    if status != 0:
        said = (scratch / ERRORS_FILE).read_bytes()[-_SHOWN_ERROR_BYTES:].decode(errors="replace").strip()
        if status == NO_SCRATCH:
            raise OSError(f"no room to sort the dataset in '{scratch}': {said or 'its disk is full or broken'}")
        raise IngestProcessError(f"the ingest process ended with status {status}: {said or 'it said nothing'}")
    outcome = await asyncio.to_thread((scratch / OUTCOME_FILE).read_bytes)
    return await asyncio.to_thread(msgspec.msgpack.decode, outcome, type=IngestOutcome)


def packs_folder(scratch: Path) -> Path:
    """Return where the packs of a run lie."""
    return scratch / PACKS_FOLDER


async def _send(source: AsyncIterator[bytes], process: asyncio.subprocess.Process) -> None:
    """Send all of `source`; return early when the process is gone, since its exit status says more."""
    stdin = process.stdin
    assert stdin is not None
    async for block in source:
        for start in range(0, len(block), MAX_FRAME_BYTES):
            piece = block[start : start + MAX_FRAME_BYTES]
            stdin.write(frame_header(len(piece)))
            stdin.write(piece)
            if not await _drained(stdin):
                return
    stdin.write(END_FRAME)
    await _drained(stdin)
    stdin.close()


async def _drained(stdin: asyncio.StreamWriter) -> bool:
    try:
        await stdin.drain()
    except ConnectionError:
        return False
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    """See to it that the process is gone, whatever happened."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        # A killed process ends at once; this wait must not be given up half-way, or a zombie stays.
        await asyncio.shield(process.wait())
    if process.stdin is not None:
        process.stdin.close()
