"""How long this process has been there: a start takes its time from there, whatever Python itself takes."""

import os
import time
from pathlib import Path


def process_age_s() -> float:
    """Return the real seconds since this process was started; 0 where nothing tells (Linux does)."""
    try:
        # The name in brackets may hold blanks; the start time is the 20th field behind it.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0.0
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 0.0)
