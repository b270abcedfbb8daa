"""Looking a header up in the raw bytes of a response.

Answers of LoRAX have 22 headers. Parsing them all costs more than the rest of the row, and the usual row needs none.
"""

from email.utils import parsedate_to_datetime


def header(raw: bytes, name: bytes) -> bytes | None:
    """Return the value of a header, its name given in lower case; `raw` begins with the status line."""
    head = _final_head(raw)
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def number_header(raw: bytes, name: bytes) -> float | None:
    """Return the value of a header as a number; None when it is absent or none."""
    value = header(raw, name)
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        return None


def retry_after_s(raw: bytes, now_s: float) -> float | None:
    """Return how many seconds the server asks to wait, in either form of Retry-After; `now_s` is Unix time."""
    seconds = number_header(raw, b"retry-after")
    if seconds is not None:
        return max(0.0, seconds)
    value = header(raw, b"retry-after")
    if value is None:
        return None
    try:
        return max(0.0, parsedate_to_datetime(value.decode("latin-1")).timestamp() - now_s)
    except ValueError:
        return None


def _final_head(raw: bytes) -> bytes:
    """Return the head without the interim responses (100 Continue, ...) before it and the body behind it."""
    start = 0
    while raw[start : start + 10].startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
        end = raw.find(b"\r\n\r\n", start)
        if end < 0:
            break
        start = end + 4
    end = raw.find(b"\r\n\r\n", start)
    return raw[start : end if end >= 0 else len(raw)]
