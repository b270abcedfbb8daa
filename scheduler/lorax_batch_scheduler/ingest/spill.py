"""Rows of many groups in one scratch file, partitioned by group."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from lorax_batch_scheduler.ingest.request import Row

PARTITIONS: Final = 256


class _SpilledRow(msgspec.Struct, array_like=True, gc=False):
    tail: bytes
    prompt_tokens: int
    max_tokens: int
    schema_hash: int
    line: int
    custom_id: bytes


_Run = tuple[int, list[_SpilledRow]]
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[_Run])
_NO_KEY: Final = ("", "", "")


class SpillFile:
    """Keeps rows on disk by the number of their group. *Resources*: an open file until `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._pending: dict[int, list[_Run]] = {}
        self._blocks: dict[int, list[tuple[int, int]]] = {}

    def add(self, group: int, rows: list[Row]) -> None:
        """Take rows of a group; they are on disk after `flush`."""
        spilled = [
            _SpilledRow(row.tail, row.prompt_tokens, row.max_tokens, row.schema_hash, row.line, row.custom_id)
            for row in rows
        ]
        self._pending.setdefault(group % PARTITIONS, []).append((group, spilled))

    def flush(self) -> None:
        """Write what was added."""
        if self._file is None and self._pending:
            self._file = self._path.open("w+b")
        for partition, runs in self._pending.items():
            assert self._file is not None
            block = _encoder.encode(runs)
            self._blocks.setdefault(partition, []).append((self._file.tell(), len(block)))
            self._file.write(block)
        self._pending = {}

    def partitions(self) -> list[int]:
        """Return the partitions that hold rows."""
        self.flush()
        return sorted(self._blocks)

    def read(self, partition: int) -> Iterator[tuple[int, list[Row]]]:
        """Yield (group, rows) of a partition, in the order in which they came. The rows' keys are empty."""
        assert self._file is not None
        for offset, length in self._blocks[partition]:
            self._file.seek(offset)
            for group, rows in _decoder.decode(self._file.read(length)):
                yield (
                    group,
                    [
                        Row(
                            _NO_KEY,
                            row.tail,
                            row.prompt_tokens,
                            row.max_tokens,
                            row.schema_hash,
                            row.line,
                            row.custom_id,
                        )
                        for row in rows
                    ],
                )

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink()
