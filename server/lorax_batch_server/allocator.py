"""How the C library gives memory back: its defaults suit neither threads that compress nor buffers of megabytes."""

import ctypes
import os
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
LARGE_BYTES: Final = 1 << 20
ARENAS: Final = 2


def limit_held_memory() -> bool:
    """Let large buffers go back to the system when they are freed; return whether that could be arranged.

    glibc otherwise gives each thread an arena of its own, and comes to serve ever larger buffers from it: a job of a
    million rows left the service with twice the memory that it needs. `MALLOC_*` variables that are set have the say.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(_M_ARENA_MAX, ARENAS) and mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
