"""Groups rows by (endpoint, model, adapter source) into chunks, in bounded memory.

Rows gather per group until they fill a window of some chunks; the window is sorted so that rows with the same prefix
stand together, and cut. When many groups share the memory, what can't fill a chunk goes to a scratch file, partitioned
by group, and is gathered again at the end, partition by partition.
"""

import operator
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.chunk import MAX_CHUNK_BYTES, MAX_CHUNK_ROWS, Chunk
from lorax_batch_scheduler.ingest.packs import ChunkSink
from lorax_batch_scheduler.ingest.request import GroupKey, Row
from lorax_batch_scheduler.ingest.spill import SpillFile

_WINDOW_BYTES: Final = 4 << 20
_ROW_BYTES: Final = 256
"""What a row costs in memory beside its tail."""

_tail: Final = operator.attrgetter("tail")


class _Group:
    __slots__ = ("buffered_bytes", "key", "number", "prompt_tokens", "row_count", "rows", "spilled")

    def __init__(self, key: GroupKey, number: int) -> None:
        self.key = key
        self.number = number
        self.rows: list[Row] = []
        self.buffered_bytes = 0
        self.row_count = 0
        self.prompt_tokens = 0
        self.spilled = False


class RowGroups:
    """Takes rows in any order and gives chunks to a sink."""

    def __init__(self, sink: ChunkSink, scratch: Path, *, max_groups: int, max_buffered_bytes: int) -> None:
        self.sink = sink
        self._groups: dict[GroupKey, _Group] = {}
        self._by_number: list[_Group] = []
        self._spill = SpillFile(scratch / "spilled-rows")
        self._max_groups = max_groups
        self._max_buffered_bytes = max_buffered_bytes
        self._buffered_bytes = 0

    def counts(self) -> list[tuple[GroupKey, int, int]]:
        """Return each group's rows and prompt tokens, as of all chunks made."""
        return [(group.key, group.row_count, group.prompt_tokens) for group in self._by_number]

    def add(self, row: Row) -> bool:
        """Take a row; False when its group would be one too many."""
        group = self._groups.get(row.key)
        if group is None:
            if len(self._groups) >= self._max_groups:
                return False
            group = self._groups[row.key] = _Group(row.key, len(self._by_number))
            self._by_number.append(group)
        group.rows.append(row)
        size = len(row.tail) + _ROW_BYTES
        group.buffered_bytes += size
        self._buffered_bytes += size
        if group.buffered_bytes >= _WINDOW_BYTES:
            self._cut(group, everything=False)
        if self._buffered_bytes > self._max_buffered_bytes:
            self._relieve()
        return True

    def finish(self) -> None:
        """Make chunks of all rows that are left."""
        for group in self._by_number:
            if group.spilled and group.rows:
                self._spill_group(group)
            self._cut(group, everything=True)
        for partition in self._spill.partitions():
            self._gather(partition)
        self._spill.close()

    def close(self) -> None:
        """Give the scratch file back."""
        self._spill.close()

    def _gather(self, partition: int) -> None:
        """Make chunks of the spilled rows of a partition."""
        waiting: dict[int, _Group] = {}
        for number, rows in self._spill.read(partition):
            group = self._by_number[number]
            waiting[number] = group
            group.rows += rows
            size = sum([len(row.tail) for row in rows]) + len(rows) * _ROW_BYTES
            group.buffered_bytes += size
            self._buffered_bytes += size
            self._cut(group, everything=False)
            if self._buffered_bytes > self._max_buffered_bytes:
                # Smaller chunks than could be, rather than more memory.
                self._cut_all(waiting)
        self._cut_all(waiting)

    def _cut_all(self, groups: dict[int, _Group]) -> None:
        for group in groups.values():
            self._cut(group, everything=True)
        groups.clear()

    def _relieve(self) -> None:
        """Bring the memory in use down: by full chunks where there are, else by spilling."""
        for group in self._by_number:
            self._cut(group, everything=False)
        if self._buffered_bytes > self._max_buffered_bytes // 2:
            for group in self._by_number:
                if group.rows:
                    self._spill_group(group)
            self._spill.flush()

    def _spill_group(self, group: _Group) -> None:
        self._spill.add(group.number, group.rows)
        group.spilled = True
        self._buffered_bytes -= group.buffered_bytes
        group.rows, group.buffered_bytes = [], 0

    def _cut(self, group: _Group, *, everything: bool) -> None:
        """Make the full chunks of a group's rows, or chunks of all of them."""
        rows = group.rows
        full = len(rows) >= MAX_CHUNK_ROWS or group.buffered_bytes - len(rows) * _ROW_BYTES >= MAX_CHUNK_BYTES
        if not rows or not (full or everything):
            return
        rows.sort(key=_tail)
        start = 0
        while start < len(rows):
            end, byte_count = _chunk_end(rows, start)
            if end == len(rows) and not everything and end - start < MAX_CHUNK_ROWS:
                break
            self._emit(group, rows[start:end])
            byte_count += (end - start) * _ROW_BYTES
            group.buffered_bytes -= byte_count
            self._buffered_bytes -= byte_count
            start = end
        group.rows = rows[start:]

    def _emit(self, group: _Group, rows: list[Row]) -> None:
        endpoint, model, source = group.key
        chunk = Chunk(
            endpoint=endpoint,
            model=model,
            adapter_source=source,
            lines=[row.line for row in rows],
            custom_ids=[row.custom_id for row in rows],
            prompt_tokens=[row.prompt_tokens for row in rows],
            max_tokens=[row.max_tokens for row in rows],
            schemas=[row.schema_hash for row in rows],
            tails=[row.tail for row in rows],
        )
        group.row_count += len(rows)
        group.prompt_tokens += sum(chunk.prompt_tokens)
        self.sink.add(chunk)


def _chunk_end(rows: list[Row], start: int) -> tuple[int, int]:
    """Return where the chunk that starts here ends, and the bytes of its tails."""
    end = min(start + MAX_CHUNK_ROWS, len(rows))
    byte_count = sum([len(row.tail) for row in rows[start:end]])
    if byte_count <= MAX_CHUNK_BYTES:
        return end, byte_count
    end, byte_count = start, 0
    while end < len(rows) and (end == start or byte_count + len(rows[end].tail) <= MAX_CHUNK_BYTES):
        byte_count += len(rows[end].tail)
        end += 1
    return end, byte_count
