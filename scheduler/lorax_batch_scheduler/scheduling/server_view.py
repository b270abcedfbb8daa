"""A server as the planner of rows sees it, and as tenants are told of it: by its id, never by where it listens."""

import re
from typing import Final
from urllib.parse import urlsplit

from lorax_batch_scheduler.fleet import ServerStatus
from lorax_batch_scheduler.packing import ServerView

_SOCKET_ADDRESS: Final = re.compile(r" ?\('[^']*', \d+(?:, \d+, \d+)?\)")
"""As the system names where a connection failed: `('10.0.0.7', 8080)`."""


def view_of(status: ServerStatus, family: str = "") -> ServerView:
    """Return a server that wants no rows. Its reason becomes one of jobs, which their tenants read."""
    return ServerView(
        server_id=status.server_id,
        state=status.state,
        reason=without_address(status.reason, status.url),
        base_model_id=status.base_model_id,
        family=family,
        wanted_rows=0,
        load=0.0,
    )


def without_address(text: str, url: str) -> str:
    """Return what was said of a server without its URL, its host and port, and the addresses of its connections."""
    text = _SOCKET_ADDRESS.sub("", text)
    if not url:
        return text
    parts = urlsplit(url)
    # A host alone only where it is quoted: it may be a word, like `server`.
    for name in (url, parts.netloc, f"{parts.hostname}:{parts.port}", f"'{parts.hostname}'"):
        text = text.replace(name, "its address")
    return text
