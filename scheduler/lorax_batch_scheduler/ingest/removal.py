"""Takes rows out of finished packs: those whose custom_id turned out to be a duplicate at the end of the file."""

from pathlib import Path

import msgspec

from lorax_batch_scheduler.chunk import Chunk, decode_chunk
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.ingest.packs import PackWriter


class LineSet:
    """Line numbers in an eighth of a byte each."""

    def __init__(self, last_line: int) -> None:
        self._bits = bytearray((last_line >> 3) + 1)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, line: int) -> bool:
        return bool(self._bits[line >> 3] & (1 << (line & 7)))

    def add(self, line: int) -> None:
        """Put in a line that is not in yet."""
        self._bits[line >> 3] |= 1 << (line & 7)
        self._count += 1


def without_lines(packs: PackWriter, lines: LineSet, scratch: Path, pack_bytes: int) -> PackWriter:
    """Write the packs anew without these lines, deleting the old ones one by one."""
    packs.close()
    folder = scratch / "old"
    folder.mkdir()
    old = [path.rename(folder / path.name) for path in packs.paths]
    kept = PackWriter(scratch, pack_bytes)
    file = None
    current = -1
    for entry in packs.entries:
        if entry.pack != current:
            if file is not None:
                file.close()
                old[current].unlink()
            current, file = entry.pack, old[entry.pack].open("rb")
        assert file is not None
        data = file.read(entry.byte_count)
        chunk = decode_chunk(data) if entry.kind is ChunkKind.ROWS else None
        if chunk is None or not any(line in lines for line in chunk.lines):
            kept.append(data, entry)
        elif rest := [index for index, line in enumerate(chunk.lines) if line not in lines]:
            kept.add(_only(chunk, rest))
    if file is not None:
        file.close()
        old[current].unlink()
    folder.rmdir()
    kept.close()
    return kept


def _only(chunk: Chunk, rows: list[int]) -> Chunk:
    """Return the chunk with these rows only."""
    columns = ("lines", "custom_ids", "prompt_tokens", "max_tokens", "schemas", "tails")
    kept = {name: [getattr(chunk, name)[row] for row in rows] for name in columns}
    return msgspec.structs.replace(chunk, **kept)
