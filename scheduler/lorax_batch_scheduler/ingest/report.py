"""Every invalid line counted, the first of each code kept."""

from bisect import insort
from typing import Final

from lorax_batch_scheduler.dataset import InvalidCode, InvalidLine, InvalidReport

MAX_LINES_A_CODE: Final = 20


class ReportBuilder:
    """Gathers invalid lines in any order."""

    def __init__(self) -> None:
        self.line_count = 0
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[InvalidLine]] = {}

    def add(self, invalid: InvalidLine) -> None:
        """Count a line, and keep it if it is one of the first of its code."""
        self.line_count += 1
        self._counts[invalid.code] = self._counts.get(invalid.code, 0) + 1
        first = self._first.setdefault(invalid.code, [])
        if len(first) < MAX_LINES_A_CODE or invalid.line < first[-1].line:
            insort(first, invalid, key=lambda kept: kept.line)
            del first[MAX_LINES_A_CODE:]

    def build(self) -> InvalidReport:
        """Return the report, most frequent code first."""
        codes = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return InvalidReport(
            line_count=self.line_count,
            codes=[InvalidCode(code=code, line_count=count, first_lines=self._first[code]) for code, count in codes],
        )
