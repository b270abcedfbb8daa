"""Checks a file offline, as an upload would be checked."""

import tempfile
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.dataset import DatasetSummary, OnInvalid
from lorax_batch_scheduler.ingest.engine import Ingest
from lorax_batch_scheduler.ingest.invalid_lines import OnInvalidLine
from lorax_batch_scheduler.ingest.limits import IngestLimits

_BLOCK_BYTES: Final = 1 << 20


def validate_file(
    path: Path, on_invalid_line: OnInvalidLine, *, limits: IngestLimits | None = None, scratch_root: Path | None = None
) -> DatasetSummary:
    """Check a file in bounded memory and return its summary; the file is fine when `summary.invalid` is empty.

    `on_invalid_line` is called for every invalid line, in the order of the lines but for duplicate ids, which are known
    only at the end. Faults of the file as a whole (empty, broken compression) are told at the line where they show.
    `scratch_root` gets about 25 bytes a row for the time of the call; by default the system's temporary directory.

    *Raises*: `OSError` when the file can't be read.
    """
    with path.open("rb") as file, tempfile.TemporaryDirectory(prefix="lorax-batch-", dir=scratch_root) as scratch:
        engine = Ingest(
            Path(scratch), limits or IngestLimits(), OnInvalid.SKIP, check_only=True, listener=on_invalid_line
        )
        try:
            while block := file.read(_BLOCK_BYTES):
                engine.feed(block)
            return engine.finish().summary
        finally:
            engine.close()
