"""The memory of a running service, seen from outside: its own process, and what its PostgreSQL has for itself."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MiB = 1 << 20
_KiB = 1 << 10


class MemoryPeak:
    """The largest memory seen so far, in MiB."""

    def __init__(self, service_pid: int, postgres_pid: int) -> None:
        self._service_pid = service_pid
        self._postgres_pid = postgres_pid
        self.service_mib = 0.0
        self.postgres_mib = 0.0
        """Private to its processes: shared buffers, which are of one size, are left out."""

    def look(self) -> None:
        """Take what is there now into account."""
        self.service_mib = max(self.service_mib, resident_mib(self._service_pid))
        private = sum(private_mib(pid) for pid in [self._postgres_pid, *children(self._postgres_pid)])
        self.postgres_mib = max(self.postgres_mib, private)


@contextmanager
def memory_peak(service_pid: int, postgres_pid: int, *, interval_s: float = 0.1) -> Iterator[MemoryPeak]:
    """Look at the memory every so often for as long as the block lasts, and once more at its end."""
    peak, ended = MemoryPeak(service_pid, postgres_pid), threading.Event()

    def look_until_ended() -> None:
        while not ended.wait(interval_s):
            peak.look()

    thread = threading.Thread(target=look_until_ended)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak.look()


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process; 0 when it is gone."""
    return _kib_of(Path(f"/proc/{pid}/status"), "VmRSS:") * _KiB / _MiB


def private_mib(pid: int) -> float:
    """Return the memory of a process that lies neither in files nor in shared memory; 0 when it is gone."""
    return _kib_of(Path(f"/proc/{pid}/status"), "RssAnon:") * _KiB / _MiB


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used; 0 when it is gone."""
    return sum(_cpu_times(pid)[:2])


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all that it has started, also of what has ended and was waited for."""
    living = sum(cpu_seconds(child) for child in children(pid))
    return living + sum(_cpu_times(pid))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in _read(Path(f"/proc/{pid}/task/{pid}/children")).split()]


def _cpu_times(pid: int) -> list[float]:
    """Return what a process has used as itself and in the system, then the same of its ended children."""
    # Behind the command's name, which may hold anything.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[11:15]
    return [int(field) / os.sysconf("SC_CLK_TCK") for field in fields]


def _kib_of(path: Path, name: str) -> int:
    found = _read(path).partition(name)[2].split()
    return int(found[0]) if found else 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
