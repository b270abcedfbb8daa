"""Where the rows of segments lie in a job's files: these are the segments of each kind, one behind the other."""

from collections.abc import Iterable
from typing import Final

import msgspec

RANGE_BYTES: Final = 1 << 20
"""Neighbours become one range up to this size: a slow job has thousands of segments of a few rows each."""


class SegmentPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A segment without its bytes."""

    first_offset: int
    error: bool
    row_count: int
    first_line: int
    last_line: int
    byte_count: int


class FileRange(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with the offsets from `first_offset` on, which stand together in one of the two files."""

    first_offset: int
    error: bool
    row_count: int
    first_line: int
    last_line: int
    file_offset: int
    byte_count: int


class RangeWriter:
    """Turns segments, given in the order of their offsets, into ranges."""

    def __init__(self) -> None:
        self.ranges: list[FileRange] = []
        self._row_counts = {False: 0, True: 0}
        self._byte_counts = {False: 0, True: 0}

    def add(self, segments: Iterable[SegmentPlace]) -> None:
        """Append segments."""
        for segment in segments:
            self._add(segment)

    def sizes(self, *, error: bool) -> tuple[int, int]:
        """Return rows and bytes of one file, as the segments have it."""
        return self._row_counts[error], self._byte_counts[error]

    def _add(self, segment: SegmentPlace) -> None:
        last = self.ranges[-1] if self.ranges else None
        if last is not None and last.error == segment.error and last.byte_count + segment.byte_count <= RANGE_BYTES:
            self.ranges[-1] = FileRange(
                first_offset=last.first_offset,
                error=last.error,
                row_count=last.row_count + segment.row_count,
                first_line=min(last.first_line, segment.first_line),
                last_line=max(last.last_line, segment.last_line),
                file_offset=last.file_offset,
                byte_count=last.byte_count + segment.byte_count,
            )
        else:
            fields = msgspec.structs.asdict(segment)
            self.ranges.append(FileRange(**fields, file_offset=self._byte_counts[segment.error]))
        self._row_counts[segment.error] += segment.row_count
        self._byte_counts[segment.error] += segment.byte_count
