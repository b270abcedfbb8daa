"""A private, real PostgreSQL in the service's data directory, which lives exactly as long as its owner."""

import asyncio
import contextlib
import hashlib
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE, PostgresBinaries, find_binaries
from lorax_batch_scheduler.postgres.guard_process import GuardFailure, GuardProcess, GuardSpec
from lorax_batch_scheduler.postgres.leftover import SOCKET_LOCK, RunningLock, remove_stale_pid_files
from lorax_batch_scheduler.postgres.owner_lock import OwnerLock
from lorax_batch_scheduler.postgres.run_as import RunAs, choose_run_as, user_name

USER = "lorax"
BATCH_SETTINGS: Mapping[str, str] = {
    # The working set is the live jobs' rows of a few tables; segments are written once and read once.
    "shared_buffers": "128MB",
    # A service holds some 20 connections; the rest is for a second role and a person with psql.
    "max_connections": "60",
    # Exactly-once rests on these: what was committed is there after the power failed.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # After each checkpoint a page's first change logs it whole: compress those, and make checkpoints rarer.
    # A crash then replays up to 1 GiB, some seconds.
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "max_wal_size": "1GB",
    # Before it recovers, a killed one syncs its files: one by one that took 2 to 3.5 s of an outage of 4 s.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
    # There is no replica to feed.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Statements take a millisecond: planning for parallel workers or JIT only costs, and parallel workers fill the
    # 64 MB /dev/shm of a container.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
}
_FIXED_SETTINGS: Mapping[str, str] = {
    "cluster_name": "lorax-batch",  # shows in ps
    # A Unix socket in a 0700 directory is the whole of access control, so nothing listens on a port.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
_LOG_KEPT_BYTES = 8 << 20
_LOG_TAIL_BYTES = 2_000
_RETRY_S = 0.25
_KILLED = 128 + signal.SIGKILL
"""The status of a PostgreSQL that was killed before it was ready: by the kernel for memory, or by a person."""
_STILL_THERE = ("already exists", "pre-existing shared memory block")
"""What PostgreSQL says while a killed one's remains have not gone yet."""


class EmbeddedPostgres:
    """A PostgreSQL whose files are under `state_dir`; no other process may own that directory meanwhile.

    It ends when `stop` is called and when this process ends in whatever way, `kill -9` included. When it dies
    alone, `wait_exited` returns and `start` may be called again. Do not `fork` without `exec` while it runs: the
    copy would keep it alive.
    """

    def __init__(self, state_dir: Path, *, settings: Mapping[str, str] = BATCH_SETTINGS) -> None:
        self._state = Path(os.path.abspath(state_dir))  # noqa: PTH100  # resolve() would do I/O
        self._cluster = self._state / "cluster"
        self._data = self._cluster / "data"
        self._log = self._cluster / "postgres.log"
        self._settings = {**settings, **_FIXED_SETTINGS}
        self._lock = OwnerLock(self._state / "owner.lock")
        self._running = RunningLock(self._state / "running.lock")
        self._socket_dir = _socket_dir(self._cluster)
        self._guard: GuardProcess | None = None

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {self._state} pid={self.postgres_pid}>"

    @property
    def guard_pid(self) -> int | None:
        return self._guard.pid if self._guard else None

    @property
    def postgres_pid(self) -> int | None:
        return self._guard.postgres_pid if self._guard else None

    async def start(self, timeout_s: float = 30.0) -> str:
        """Start PostgreSQL, making its files if there are none, and return a DSN for asyncpg.

        Right after a kill its remains may stand in the way for a moment, so this tries again until `timeout_s`.

        Raises `ConfigurationError` for what a person has to change (directory, owner, version), `DatabaseError`
        with the end of PostgreSQL's log for everything else.
        """
        await self._end_guard()
        deadline = time.monotonic() + timeout_s
        try:
            self._take_directory()
            while (dsn := await self._attempt(deadline)) is None:  # noqa: ASYNC110  # nothing tells when it is gone
                await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            said = _tail(self._log, 0)
            await self.stop()
            raise DatabaseError(f"PostgreSQL in '{self._data}' was not ready in {timeout_s:g} s:\n{said}") from None
        except BaseException:
            await self.stop()
            raise
        return dsn

    async def stop(self) -> None:
        """Shut PostgreSQL down (sessions are ended, a checkpoint is written) and give the directory up."""
        try:
            await self._end_guard()
        finally:
            self._give_up_directory()

    async def wait_exited(self) -> int:
        """Return PostgreSQL's exit status when it has ended, 128 + n when signal n ended it."""
        if self._guard is None:
            raise RuntimeError("the embedded PostgreSQL was not started")
        return await self._guard.wait_exited()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _attempt(self, deadline: float) -> str | None:
        """Start PostgreSQL once; None when it was killed, or an earlier run's remains are in the way for a moment."""
        spec = await asyncio.to_thread(self._prepare)
        running = await self._running.acquire(timeout_s=deadline - time.monotonic())
        try:
            await asyncio.to_thread(remove_stale_pid_files, self._data, spec.socket_dir)
            log_start = _size(self._log)
            self._guard = GuardProcess.launch(spec, running)
        finally:
            os.close(running)
        try:
            await self._guard.wait_ready(max(deadline - time.monotonic(), 0.0))
        except GuardFailure as failure:
            was_killed = await self._end_guard() == _KILLED
            said = _tail(self._log, log_start)
            if (was_killed or any(text in said for text in _STILL_THERE)) and time.monotonic() < deadline:
                return None
            raise self._explained(failure, spec, said) from failure
        return f"postgresql://{USER}@/postgres?host={quote(str(spec.socket_dir), safe='')}"

    async def _end_guard(self) -> int | None:
        """End it and return PostgreSQL's status; None when there is none."""
        guard, self._guard = self._guard, None
        return await guard.end() if guard else None

    def _take_directory(self) -> None:
        """Make the state directory and become its owner."""
        try:
            if not self._state.is_dir():
                # Passable for the user that root becomes; what is private lies one level deeper.
                self._state.mkdir(parents=True, mode=0o711)
            self._lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error

    def _give_up_directory(self) -> None:
        if self._lock.held and self._socket_dir != self._cluster:
            with contextlib.suppress(OSError):  # it isn't empty when PostgreSQL had to be killed
                self._socket_dir.rmdir()
        self._lock.release()

    def _prepare(self) -> GuardSpec:
        """Check and make everything else that PostgreSQL needs; blocking."""
        try:
            binaries = self._binaries()
            run_as = choose_run_as(self._data, bin_dir=binaries.bin_dir, parent=self._state)
            _own_directory(self._cluster, run_as)
            self._rotate_log()
            socket_dir = self._own_socket_dir(run_as)
        except OSError as error:
            raise self._unwritable(error) from error
        return GuardSpec(
            bin_dir=binaries.bin_dir,
            data=self._data,
            socket_dir=socket_dir,
            log=self._log,
            run_as=run_as,
            user=USER,
            settings=self._settings,
        )

    def _unwritable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"can't keep a database in '{self._state}' as {user_name(os.geteuid())}: {error.strerror or error} "
            f"('{error.filename or self._state}'); choose another data directory, or give that user the right to write"
        )

    def _binaries(self) -> PostgresBinaries:
        made_by = _cluster_major(self._data)
        binaries = find_binaries(major=made_by)
        if made_by not in (None, binaries.major):
            raise ConfigurationError(
                f"the database files in '{self._data}' were made by PostgreSQL {made_by}, but what is installed is "
                f"{binaries}: set {BIN_VARIABLE} to the folder of a PostgreSQL {made_by}'s programs, or move the files "
                f"to PostgreSQL {binaries.major} with pg_upgrade, or start with an empty data directory"
            )
        return binaries

    def _own_socket_dir(self, run_as: RunAs) -> Path:
        if self._socket_dir != self._cluster:
            _own_directory(self._socket_dir, run_as)
        return self._socket_dir

    def _rotate_log(self) -> None:
        if _size(self._log) > _LOG_KEPT_BYTES:
            self._log.replace(self._log.with_name("postgres.log.1"))

    def _explained(self, failure: GuardFailure, spec: GuardSpec, said: str) -> Exception:
        if failure.stage == "user":
            return ConfigurationError(
                f"PostgreSQL refuses to run as {user_name(os.geteuid())}, and there is no way around it ({failure}): "
                "run the service as an ordinary user, or let other users pass through the folders above "
                f"'{spec.bin_dir}' and '{self._state}' (chmod o+x)"
            )
        return DatabaseError(f"PostgreSQL in '{self._data}' did not start ({failure.stage}: {failure}):\n{said}")


def _socket_dir(cluster: Path) -> Path:
    if len(os.fsencode(cluster / SOCKET_LOCK)) <= _SOCKET_PATH_BYTES:
        return cluster
    # The kernel limits a socket's path, and TMPDIR may be long as well.
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:12]
    return Path("/tmp") / f"lorax-pg-{os.geteuid()}-{digest}"  # noqa: S108  # its owner and mode are checked


def _own_directory(path: Path, run_as: RunAs) -> None:
    """Make a directory that only `run_as` can enter, or check that it is one already."""
    try:
        path.mkdir(mode=0o700)
        os.chown(path, run_as.uid, run_as.gid)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(20, "it is not a directory", str(path)) from None
        if found.st_uid != run_as.uid and not any(path.iterdir()):
            os.chown(path, run_as.uid, run_as.gid)  # made, but not handed over before a crash
        elif found.st_uid != run_as.uid or found.st_mode & 0o077:
            raise ConfigurationError(
                f"'{path}' belongs to {user_name(found.st_uid)} with mode {found.st_mode & 0o777:o}, "
                f"but must be {user_name(run_as.uid)}'s alone (mode 700): remove it or put it right"
            ) from None


def _cluster_major(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tail(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(start, _size(log) - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return "(no log)"
