"""Chunks behind each other in pack files."""

from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

from lorax_batch_scheduler.chunk import Chunk, InvalidChunk, encode_chunk
from lorax_batch_scheduler.dataset import ChunkEntry, ChunkKind


class ChunkSink(Protocol):
    """Takes finished chunks."""

    def add(self, chunk: Chunk) -> None:
        """Take a chunk of rows."""
        ...

    def add_invalid(self, chunk: InvalidChunk) -> None:
        """Take a chunk of invalid lines."""
        ...


class NoPacks:
    """Throws chunks away: the dataset is only checked."""

    def add(self, chunk: Chunk) -> None:
        pass

    def add_invalid(self, chunk: InvalidChunk) -> None:
        pass


class PackWriter:
    """Writes chunks into pack files in a folder and keeps their index.

    *Resources*: holds a file open until `close`.
    """

    def __init__(self, folder: Path, pack_bytes: int) -> None:
        self._folder = folder
        self._pack_bytes = pack_bytes
        self._file: BinaryIO | None = None
        self._offset = 0
        self.paths: list[Path] = []
        self.entries: list[ChunkEntry] = []

    def add(self, chunk: Chunk) -> None:
        """Append a chunk of rows."""
        self.append(
            encode_chunk(chunk),
            ChunkEntry(
                chunk_no=len(self.entries),
                kind=ChunkKind.ROWS,
                endpoint=chunk.endpoint,
                model=chunk.model,
                adapter_source=chunk.adapter_source,
                row_count=len(chunk.lines),
                prompt_tokens=sum(chunk.prompt_tokens),
                max_tokens=sum(chunk.max_tokens),
                first_line=min(chunk.lines),
                last_line=max(chunk.lines),
                longest_prompt_tokens=max(chunk.prompt_tokens),
                largest_max_tokens=max(chunk.max_tokens),
                **_NOWHERE,
            ),
        )

    def add_invalid(self, chunk: InvalidChunk) -> None:
        """Append a chunk of invalid lines."""
        self.append(
            encode_chunk(chunk),
            ChunkEntry(
                chunk_no=len(self.entries),
                kind=ChunkKind.INVALID,
                endpoint="",
                model="",
                adapter_source="",
                row_count=len(chunk.lines),
                prompt_tokens=0,
                max_tokens=0,
                first_line=min(chunk.lines),
                last_line=max(chunk.lines),
                **_NOWHERE,
            ),
        )

    def append(self, data: bytes, entry: ChunkEntry) -> None:
        """Append an encoded chunk; its number and place are given here."""
        if self._file is None:
            path = self._folder / f"pack-{len(self.paths):05d}"
            self._file, self._offset = path.open("xb"), 0
            self.paths.append(path)
        place = {"pack": len(self.paths) - 1, "offset": self._offset, "byte_count": len(data)}
        self.entries.append(msgspec.structs.replace(entry, chunk_no=len(self.entries), **place))
        self._file.write(data)
        self._offset += len(data)
        if self._offset >= self._pack_bytes:
            self.close()

    def close(self) -> None:
        """Write the last pack out."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Delete all packs."""
        self.close()
        for path in self.paths:
            path.unlink()
        self.paths, self.entries = [], []


_NOWHERE: Final = {"pack": 0, "offset": 0, "byte_count": 0}
