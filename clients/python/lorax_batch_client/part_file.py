"""A file that appears under its name only when it is complete."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def part_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file beside `path`; it takes the name `path` at the end, or is removed after an error."""
    final = Path(path)
    part = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
