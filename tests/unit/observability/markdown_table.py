"""Tables of our documents."""

import re
from pathlib import Path

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def table(first_header: str) -> list[list[str]]:
    """Return the rows of the one table whose first column has that header, without backticks."""
    lines = OPERATIONS.read_text().splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith(f"| {first_header} |")]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows
