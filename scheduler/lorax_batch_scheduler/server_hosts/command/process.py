"""Processes of servers: started behind a gate, known by more than their pid, ended with all they have started."""

import asyncio
import contextlib
import errno
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

_GATE: Final = 'read -r _ && exec "$@" </dev/null'
"""A shell that becomes the server when it is told to; when whoever started it dies before that, it just ends."""
_POLL_S: Final = 0.2
_END_POLL_S: Final = 0.02
_PROC: Final = Path("/proc")


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What no other process has, now or later: pids are used again, after a restart of the machine all of them."""

    pid: int
    start_ticks: int
    """When it was started, in clock ticks since boot."""
    boot_id: str


class _Stat(msgspec.Struct, frozen=True):
    state: str
    session: int
    start_ticks: int


class GatedProcess:
    """A process that becomes its program when its gate is opened, and ends when it is not.

    So its identity can be put on disk before there is a server that could be left behind.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: int) -> None:
        """Start it, in a session of its own. Raises `OSError`."""
        read_end, self._gate = os.pipe()
        try:
            pid = _Spawned(
                ["/bin/sh", "-c", _GATE, "sh", *command],
                env=environment,
                stdin=read_end,
                stdout=output,
                stderr=output,
                start_new_session=True,
            ).pid
            stat = _read_stat(pid)
            if stat is None:  # nobody has waited for it: it can't be gone
                raise ProcessLookupError(errno.ESRCH, "no /proc: servers can be started on Linux only")
            self.identity = ProcessIdentity(pid=pid, start_ticks=stat.start_ticks, boot_id=_boot_id())
        except BaseException:
            os.close(self._gate)
            raise
        finally:
            os.close(read_end)

    def open(self) -> None:
        """Let it become the program."""
        with contextlib.suppress(BrokenPipeError):  # killed meanwhile: that is seen by who waits for it
            os.write(self._gate, b"\n")
        os.close(self._gate)

    def close(self) -> None:
        """Let it end without ever being the program, and wait for that."""
        os.close(self._gate)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.identity.pid, 0)


class _Spawned(subprocess.Popen[bytes]):
    """Is not waited for here: a server may outlive the service, and an adopted one is no child at all."""

    def __del__(self) -> None:
        """Do nothing; it would warn that nobody has waited."""


class ServerProcess:
    """A running process, child or not.

    *Resources*: holds a descriptor until `close`.
    """

    def __init__(self, identity: ProcessIdentity, descriptor: int | None) -> None:
        self.identity = identity
        self._descriptor = descriptor

    @classmethod
    def attach(cls, identity: ProcessIdentity, *, use_pidfd: bool = True) -> Self | None:
        """Return the process; None when it has ended, whatever has its pid by now."""
        descriptor = _pidfd(identity.pid) if use_pidfd else None
        if is_alive(identity):  # asked after the descriptor was opened: so it is this process's
            return cls(identity, descriptor)
        if descriptor is not None:
            os.close(descriptor)
        return None

    def close(self) -> None:
        """Let go of it; it runs on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def wait(self) -> int | None:
        """Return its exit status when it has ended, -N for signal N; None where only its parent could know."""
        if self._descriptor is None:
            while is_alive(self.identity):  # noqa: ASYNC110 - a kernel without pidfd has nothing to wait for
                await asyncio.sleep(_POLL_S)
        else:
            await _readable(self._descriptor)
        return _reap(self.identity.pid)

    def terminate(self) -> None:
        """Ask it to end. Only itself: a launcher ends what it has started in the right order."""
        with contextlib.suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)
            elif is_alive(self.identity):
                os.kill(self.identity.pid, signal.SIGTERM)


def exit_status(identity: ProcessIdentity) -> int | None:
    """Return the exit status of a child that has ended and that nobody has waited for; None: it is none, or not yet."""
    stat = _read_stat(identity.pid)
    is_same = stat is not None and stat.start_ticks == identity.start_ticks and identity.boot_id == _boot_id()
    return _reap(identity.pid) if is_same else None


async def kill_all(identity: ProcessIdentity, *, timeout_s: float) -> bool:
    """Kill a server's process and all it has started, return whether they are gone.

    What belongs to it is its session: launchers put their shards into process groups of their own.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while members := await asyncio.to_thread(_members, identity):
                for pid in members:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(_END_POLL_S)
            return True
    return False


def is_alive(identity: ProcessIdentity) -> bool:
    """Tell whether it runs; one that has ended and that nobody has waited for does not."""
    stat = _read_stat(identity.pid)
    return (
        stat is not None
        and stat.state not in "ZX"
        and stat.start_ticks == identity.start_ticks
        and identity.boot_id == _boot_id()
    )


def _members(identity: ProcessIdentity) -> list[int]:
    """Return what runs of its session; a session that has the same number by chance is another's."""
    if identity.boot_id != _boot_id():
        return []
    leader = _read_stat(identity.pid)
    if leader is not None and leader.start_ticks != identity.start_ticks:
        return []
    found = []
    for name in os.listdir(_PROC):  # noqa: PTH208 - hundreds of names, no need of paths
        if not name.isdecimal():
            continue
        stat = _read_stat(int(name))
        if (
            stat is not None
            and stat.session == identity.pid
            and stat.state not in "ZX"
            and stat.start_ticks >= identity.start_ticks
        ):
            found.append(int(name))
    return found


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:  # ended, before or while it was read
        return None
    # The second field is the program's name in parentheses, and may hold any of them.
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], session=int(fields[3]), start_ticks=int(fields[19]))


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # an old kernel, a sandbox that has none, or ended
        return None


async def _readable(descriptor: int) -> None:
    if select.select([descriptor], [], [], 0)[0]:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)


def _reap(pid: int) -> int | None:
    try:
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
