"""`python -m lorax_batch_scheduler.ingest SCRATCH`: one ingest in a process of its own; see `process.py`."""

import gc
import os
import sys
from contextlib import suppress
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from lorax_batch_scheduler.ingest.child import (
    NO_SCRATCH,
    OPTIONS_FILE,
    OUTCOME_FILE,
    PACKS_FOLDER,
    PARENT_DIED,
    IngestOptions,
    TruncatedInputError,
    read_frame,
)
from lorax_batch_scheduler.ingest.engine import Ingest

_BAD_DISK: Final = {EDQUOT, EIO, ENOSPC, EROFS}
_NICENESS: Final = 5
"""A dataset that comes in gives way to the jobs that run."""


def ingest(scratch: Path, source: BinaryIO) -> None:
    """Take all frames in and leave packs and outcome in the scratch directory. Raises `TruncatedInputError`."""
    options = msgspec.json.decode((scratch / OPTIONS_FILE).read_bytes(), type=IngestOptions)
    packs = scratch / PACKS_FOLDER
    packs.mkdir()
    engine = Ingest(packs, options.limits, options.on_invalid)
    try:
        while block := read_frame(source):
            engine.feed(block)
        outcome = engine.finish()
    finally:
        engine.close()
    (scratch / OUTCOME_FILE).write_bytes(msgspec.msgpack.encode(outcome))


def main() -> int:
    """Run and return the exit status."""
    os.nice(_NICENESS)
    # Rows make no reference cycles, and there are millions of them for the collector to walk over.
    gc.disable()
    try:
        ingest(Path(sys.argv[1]), sys.stdin.buffer)
    except TruncatedInputError:
        return PARENT_DIED
    except OSError as error:
        if error.errno not in _BAD_DISK:
            raise
        with suppress(OSError):  # it goes to a file on the same disk
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
        return NO_SCRATCH
    return 0


if __name__ == "__main__":
    sys.exit(main())
