"""Where the bytes of an upload come from: anything becomes a file that can be read again from any offset."""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

RowSource = Iterable[Mapping[str, Any] | str | bytes]
UploadInput = str | os.PathLike[str] | IO[bytes] | IO[str] | RowSource
"""A path; an open file, from where it stands; or rows: mappings, or lines of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSource:
    """A file of known size; only as much of it is in memory as is being read."""

    file: IO[bytes]
    begin: int
    """Where in the file the upload begins."""
    byte_count: int
    name: str
    """What to call the dataset when the caller does not say; may be empty."""

    def seek(self, offset: int) -> None:
        """Go to that byte of the upload."""
        self.file.seek(self.begin + offset)


@contextlib.contextmanager
def open_upload_source(source: UploadInput) -> Iterator[UploadSource]:
    """Open a source; what can't be read twice (rows, pipes) is first written to a temporary file."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            if file.seekable():
                yield _source_of(file, path.name)
                return
            source = file
        if isinstance(source, io.RawIOBase | io.BufferedIOBase) and source.seekable():
            yield _source_of(source, _name_of(source))  # type: ignore[arg-type]  # both are IO[bytes], untold
            return
        spooled = stack.enter_context(tempfile.TemporaryFile())
        _spool(source, spooled)
        spooled.seek(0)
        yield _source_of(spooled, "")


def _source_of(file: IO[bytes], name: str) -> UploadSource:
    begin = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(begin)
    return UploadSource(file=file, begin=begin, byte_count=end - begin, name=name)


def _name_of(file: object) -> str:
    name = getattr(file, "name", "")
    return Path(name).name if isinstance(name, str) else ""


def _spool(source: IO[bytes] | IO[str] | RowSource, spooled: IO[bytes]) -> None:
    if isinstance(source, io.RawIOBase | io.BufferedIOBase):
        shutil.copyfileobj(source, spooled, 1 << 20)
        return
    for row in source:
        if isinstance(row, Mapping):
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
        elif isinstance(row, str | bytes):
            line = (row.encode() if isinstance(row, str) else row).rstrip(b"\r\n")
        else:
            raise TypeError(f"a row must be a mapping or a line of JSON, not {type(row).__name__}")
        spooled.write(line + b"\n")
