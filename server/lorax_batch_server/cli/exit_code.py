"""How a command ends, for scripts."""

import enum


class ExitCode(enum.IntEnum):
    """The exit status of the process."""

    DONE = 0
    FAILED = 1
    """The job ended otherwise than SUCCEEDED, or the service failed."""
    BAD_INPUT = 2
    """Bad input or usage: trying again without a change is no use."""
    UNREACHABLE = 3
    """The service can't be reached."""
    INTERRUPTED = 130
    """By Ctrl-C, as shells count it."""
