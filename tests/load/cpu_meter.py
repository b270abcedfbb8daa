"""The CPU time of processes that come and go, by what part of the whole they are."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.load.memory import cpu_seconds

Read = Callable[[int], float]


class CpuMeter:
    """Counts from the moment at which it is made."""

    def __init__(self) -> None:
        self.cores = len(os.sched_getaffinity(0))
        self._parts: dict[int, tuple[str, float, Read]] = {}
        self._before: dict[str, float] = {}
        self._began = time.monotonic()
        self._busy = _machine_busy_s()

    def add(self, part: str, pid: int, read: Read = cpu_seconds) -> None:
        """Count a process from now on."""
        self._parts[pid] = (part, read(pid), read)

    def remove(self, pid: int) -> None:
        """Keep what a process has used that is about to end."""
        part, at_first, read = self._parts.pop(pid)
        self._before[part] = self._before.get(part, 0.0) + read(pid) - at_first

    def seconds(self) -> dict[str, float]:
        """Return what each part has used."""
        used = dict(self._before)
        for pid, (part, at_first, read) in self._parts.items():
            used[part] = used.get(part, 0.0) + read(pid) - at_first
        return used

    def machine_cores(self) -> float:
        """Return how many cores were busy, whoever used them."""
        return (_machine_busy_s() - self._busy) / (time.monotonic() - self._began)


def _machine_busy_s() -> float:
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
