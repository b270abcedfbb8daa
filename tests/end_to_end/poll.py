"""Waiting for what no watch tells."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def poll_until(read: Callable[[], T], holds: Callable[[T], bool], *, timeout_s: float = 20.0) -> T:
    """Return the first value for which it holds; fail when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while not holds(value := read()):
        assert time.monotonic() < deadline, f"still {value} after {timeout_s} s"
        time.sleep(0.02)
    return value
