"""Blocks of bytes to lines, without ever holding a line that is longer than allowed."""

from typing import Final

_BOM: Final = b"\xef\xbb\xbf"


class LineSplitter:
    """Cuts a file into lines. An over-long line comes out cut off, some bytes longer than the limit."""

    def __init__(self, max_line_bytes: int) -> None:
        # One more for a carriage return, one to tell that the line is too long; and the mark that may stand first.
        self._kept_bytes = max_line_bytes + 2 + len(_BOM)
        self._rest = bytearray()
        self._at_start = True

    def feed(self, block: bytes) -> list[bytes]:
        """Return the lines that end in this block, without their newlines."""
        first, newline, others = block.partition(b"\n")
        self._rest += first[: self._kept_bytes - len(self._rest)]
        if not newline:
            return []
        lines = others.split(b"\n")
        lines.insert(0, self._take())
        self._rest += lines.pop()[: self._kept_bytes]
        return lines

    def finish(self) -> list[bytes]:
        """Return the last line when no newline ends it."""
        last = self._take()
        return [last] if last else []

    def _take(self) -> bytes:
        line = bytes(self._rest)
        self._rest.clear()
        if self._at_start:
            self._at_start = False
            return line.removeprefix(_BOM)
        return line
