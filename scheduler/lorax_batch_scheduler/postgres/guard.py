"""The guard: `python -I guard.py SPEC` runs PostgreSQL and ends it when the owner is gone.

    owner (the service)  --pipe on fd 0-->  guard  --PDEATHSIG-->  postgres

It is a process of its own because only that survives the owner's `kill -9`: fd 0 then reads end-of-file, and the
guard shuts PostgreSQL down. On Linux PostgreSQL also gets SIGINT when the guard dies. The guard imports the standard
library alone, has one thread (PDEATHSIG fires when the creating *thread* ends), and reports on fd 1, a line each:
`ready PID` or `failed STAGE TEXT`.
"""

import contextlib
import ctypes
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
FAST_SHUTDOWN_S = 20.0
"""How long PostgreSQL may take to end its sessions and write its last checkpoint."""
IMMEDIATE_SHUTDOWN_S = 5.0
READY_POLL_S = 0.01

_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",  # the caller's locale must not fail initdb
    "TZ": "UTC",
    # Else each of its processes keeps 20 MiB instead of 8 from the largest statement that it has seen.
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "262144",
}


def report(line: str) -> None:
    """Tell the owner; it may be gone already."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{line}\n".encode())


class Watch:
    """Wakes on a signal, on a child's end and on the owner's end."""

    def __init__(self) -> None:
        self.stopping = False
        self._wake, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the owner's to decide on
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def wait(self, timeout_s: float | None) -> None:
        watched = [self._wake] if self.stopping else [self._wake, 0]
        readable, _, _ = select.select(watched, [], [], timeout_s)
        if self._wake in readable:
            os.read(self._wake, 512)
        if 0 in readable and not os.read(0, 64):
            self.stopping = True


class Child:
    """A program that ends with the guard."""

    def __init__(self, arguments: list[str], *, spec: dict[str, Any], log: int, death_signal: signal.Signals) -> None:
        guard_pid = os.getpid()

        def prepare() -> None:
            os.setsid()
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
                if os.getppid() != guard_pid:  # the guard died before the line above
                    os._exit(1)

        # The guard has one thread, so preexec_fn is safe here.
        self.process = subprocess.Popen(
            arguments,
            env=_ENVIRONMENT,
            preexec_fn=prepare,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[spec["running_lock"]],  # its flock is free when the last process of PostgreSQL has ended
        )

    def supervise(self, watch: Watch, stop_signals: list[tuple[signal.Signals, float]], *, ready: Path | None) -> int:
        """Wait for the end, asking for it more and more firmly once the owner is gone."""
        remaining = list(stop_signals)
        patience_ends: float | None = None
        while self.process.poll() is None:
            now = time.monotonic()
            if watch.stopping and remaining and (patience_ends is None or now >= patience_ends):
                how, patience_s = remaining.pop(0)
                self.process.send_signal(how)
                patience_ends = now + patience_s
            if ready and is_ready(ready, self.process.pid):
                report(f"ready {self.process.pid}")
                ready = None
            if patience_ends is not None:
                watch.wait(max(patience_ends - now, READY_POLL_S))
            else:
                watch.wait(READY_POLL_S if ready else None)
        return self.process.returncode


def is_ready(pid_file: Path, pid: int) -> bool:
    """Tell whether PostgreSQL `pid` accepts connections; a killed one's stale file says `ready` too."""
    try:
        lines = pid_file.read_text().splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def become(run_as: dict[str, Any]) -> None:
    """Turn into the user that PostgreSQL runs as."""
    if run_as["namespace"]:
        _enter_user_namespace()
    elif os.geteuid() != run_as["uid"]:
        os.setgroups([])
        os.setgid(run_as["gid"])
        os.setuid(run_as["uid"])


def _enter_user_namespace() -> None:
    if sys.platform != "linux":
        raise OSError("there are no user namespaces on this system")
    inner = pwd.getpwnam("nobody").pw_uid
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), f"no user namespace: {os.strerror(ctypes.get_errno())}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inner} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{inner} {gid} 1")


def create_cluster(spec: dict[str, Any], watch: Watch, log: int) -> int:
    """Run initdb aside and rename, so that a kill in the middle leaves nothing that looks like a database."""
    data = Path(spec["data"])
    for leftover in data.parent.glob("initdb-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix="initdb-", dir=data.parent))
    arguments = [str(Path(spec["bin_dir"]) / "initdb"), "-D", str(fresh), "-U", spec["user"], "-E", "UTF8"]
    arguments += ["--no-locale", "--auth=trust", "--data-checksums", "--no-instructions"]
    if spec["settings"].get("fsync") == "off":
        arguments.append("--no-sync")
    child = Child(arguments, spec=spec, log=log, death_signal=signal.SIGKILL)
    status = child.supervise(watch, [(signal.SIGTERM, IMMEDIATE_SHUTDOWN_S), (signal.SIGKILL, 60)], ready=None)
    if status == 0:
        fresh.rename(data)
        parent = os.open(data.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)
    return status


def run_postgres(spec: dict[str, Any], watch: Watch, log: int) -> int:
    settings = [f"--{name}={value}" for name, value in spec["settings"].items()]
    arguments = [str(Path(spec["bin_dir"]) / "postgres"), "-D", spec["data"], "-k", spec["socket_dir"], *settings]
    child = Child(arguments, spec=spec, log=log, death_signal=signal.SIGINT)
    # SIGINT ends the sessions and writes a checkpoint; SIGQUIT leaves that to the next start.
    shutdown = [(signal.SIGINT, FAST_SHUTDOWN_S), (signal.SIGQUIT, IMMEDIATE_SHUTDOWN_S), (signal.SIGKILL, 60.0)]
    return child.supervise(watch, shutdown, ready=Path(spec["data"]) / "postmaster.pid")


def main(spec: dict[str, Any]) -> int:
    watch = Watch()
    try:
        become(spec["run_as"])
    except (OSError, KeyError) as error:
        report(f"failed user {error}")
        return 1
    os.umask(0o077)
    try:
        log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if not Path(spec["data"]).exists():
            status = create_cluster(spec, watch, log)
            if status != 0:
                report(f"failed initdb it ended with status {status}")
                return 1
        status = run_postgres(spec, watch, log)
    except OSError as error:
        report(f"failed files {error}")
        return 1
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
