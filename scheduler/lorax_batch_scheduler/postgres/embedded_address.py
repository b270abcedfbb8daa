"""Where the embedded PostgreSQL of a running service is, for others on the same machine."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from lorax_batch_scheduler.postgres.embedded import USER

_PORT, _SOCKETS, _STATUS = 3, 4, 7
_LINES: Final = 8


def embedded_dsn(state_dir: Path) -> str | None:
    """Return its DSN, or None when none is ready. What a killed one left lying may still name it."""
    try:
        lines = (state_dir / "cluster" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(lines) < _LINES or lines[_STATUS].strip() != "ready":
        return None
    return f"postgresql://{USER}@/postgres?host={quote(lines[_SOCKETS], safe='')}&port={lines[_PORT]}"
