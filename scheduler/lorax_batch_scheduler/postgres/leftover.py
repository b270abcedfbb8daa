"""Waits for what an earlier run left running in a data directory that is now ours, and clears what it left lying."""

import asyncio
import fcntl
import os
import sys
import time
from pathlib import Path

from lorax_batch_scheduler.errors import DatabaseError

SOCKET_LOCK = ".s.PGSQL.5432.lock"
_POLL_S = 0.02


class RunningLock:
    """A lock that every process of a PostgreSQL of ours inherits: it is free when the last one has ended.

    So no pid has to be looked at, or signalled, to know that: pids are reused, a zombie counts as running, and another
    container's are not to be seen at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    async def acquire(self, *, timeout_s: float) -> int:
        """Return a descriptor to hand to the guard and then close, when nothing of an earlier run lives any more.

        An orphaned PostgreSQL ends by itself: its guard, or the guard's death, has asked it to.
        """
        deadline = time.monotonic() + timeout_s
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise DatabaseError(f"the PostgreSQL of an earlier run still holds '{self.path}'") from None
                    await asyncio.sleep(_POLL_S)
                else:
                    return fd
        except BaseException:
            os.close(fd)
            raise


def remove_stale_pid_files(data: Path, socket_dir: Path) -> None:
    """Remove the pid files that nothing stands behind; the caller holds the running lock.

    PostgreSQL refuses to start while the pid in one lives, whatever program that is by now (in a restarted container
    the same small numbers come back), and a zombie that nobody has reaped yet counts as living. Its processes have
    the data directory as working directory, so Linux can tell whether somebody else (a person with `pg_ctl`) runs one
    here. Elsewhere PostgreSQL's own check stands.
    """
    directory = data.resolve()
    if sys.platform == "linux" and not any(_runs_in(process, directory) for process in Path("/proc").iterdir()):
        (data / "postmaster.pid").unlink(missing_ok=True)
        (socket_dir / SOCKET_LOCK).unlink(missing_ok=True)


def _runs_in(process: Path, data: Path) -> bool:
    try:
        return process.name.isdigit() and (process / "cwd").readlink() == data
    except OSError:
        return False  # it has ended, is a zombie, or is another user's: that one can't be in our 0700 directory
