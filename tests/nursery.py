"""A process that has imported the libraries already and becomes, by fork, each service that a test starts.

Most of what a start of a service costs is importing, and tests start thousands. `python -m tests.nursery FD MODULE...`
imports these, reads a request a line from that socket, and answers with the child's pid, later with its exit code.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any


class Child(Exception):  # noqa: N818  # no error: how the child gets out of the parent's loop
    """Raised in a new child, with what it was asked to be."""


def serve(channel: socket.socket) -> None:
    """Fork children as asked until the other side is gone. Raises `Child` in each."""
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with channel.makefile("rwb", buffering=0) as lines:
        while True:
            ready, _, _ = select.select([channel, woken], [], [])
            if channel in ready:
                line = lines.readline()
                if not line:
                    return
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    woken.close()
                    wakes.close()
                    raise Child(json.loads(line))
                lines.write(json.dumps({"pid": pid}).encode() + b"\n")
            if woken in ready:
                woken.recv(4096)
                for ended, status in _ended():
                    lines.write(json.dumps({"pid": ended, "code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def _ended() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def become(asked: dict[str, Any]) -> None:
    """Take over what a new process is given: arguments, environment, directory, standard streams."""
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["lorax-batch", *asked["arguments"]]
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)


if __name__ == "__main__":
    for module in sys.argv[2:]:
        importlib.import_module(module)
    # What children never write to, they share.
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        try:
            serve(parent)
        except Child as child:
            become(child.args[0])
        else:
            sys.exit()
    from lorax_batch_server.cli import main

    main()
