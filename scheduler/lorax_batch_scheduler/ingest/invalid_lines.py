"""Invalid lines on their way: counted, told to whoever listens, and packed for the error files."""

from collections.abc import Callable

from lorax_batch_scheduler.chunk import MAX_CHUNK_BYTES, MAX_CHUNK_ROWS, InvalidChunk
from lorax_batch_scheduler.dataset import InvalidLine, InvalidReport
from lorax_batch_scheduler.ingest.packs import ChunkSink
from lorax_batch_scheduler.ingest.report import ReportBuilder

OnInvalidLine = Callable[[InvalidLine], None]


class InvalidLines:
    """Takes invalid lines and gives chunks of them to a sink."""

    def __init__(self, sink: ChunkSink, listener: OnInvalidLine | None) -> None:
        self.sink = sink
        self._listener = listener
        self._report = ReportBuilder()
        self._lines: list[InvalidLine] = []
        self._custom_ids: list[str | None] = []
        self._buffered_bytes = 0

    @property
    def line_count(self) -> int:
        """How many there were so far."""
        return self._report.line_count

    def add(self, invalid: InvalidLine, custom_id: str | None) -> None:
        """Take a line."""
        self._report.add(invalid)
        if self._listener is not None:
            self._listener(invalid)
        self._lines.append(invalid)
        self._custom_ids.append(custom_id)
        self._buffered_bytes += len(invalid.message) + len(invalid.param)
        if len(self._lines) >= MAX_CHUNK_ROWS or self._buffered_bytes >= MAX_CHUNK_BYTES // 2:
            self.flush()

    def flush(self) -> None:
        """Make a chunk of what was gathered."""
        if not self._lines:
            return
        self.sink.add_invalid(
            InvalidChunk(
                lines=[invalid.line for invalid in self._lines],
                custom_ids=self._custom_ids,
                codes=[invalid.code for invalid in self._lines],
                params=[invalid.param for invalid in self._lines],
                messages=[invalid.message for invalid in self._lines],
            )
        )
        self._lines, self._custom_ids, self._buffered_bytes = [], [], 0

    def report(self) -> InvalidReport:
        """Return the counts and the first lines."""
        return self._report.build()
