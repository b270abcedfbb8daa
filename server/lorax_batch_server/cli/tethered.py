"""`python -m lorax_batch_server.cli.tethered PARENT_PID COMMAND...`: a command that ends with its parent.

On Linux the kernel kills it when the parent dies, however it dies: a service that drained for half a minute would
keep the next one from its data directory, and it loses nothing by being killed.
Elsewhere only the parent's own care helps.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the command."""
    parent_pid, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent_pid):
            sys.exit(1)  # it died before we were tied to it
    os.execv(command[0], command)  # noqa: S606  # no shell


if __name__ == "__main__":
    main(sys.argv[1:])
