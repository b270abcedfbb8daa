"""The command line: one file a command group; what is heavy is imported by the command that needs it."""

import os
from typing import Final

GRPC_SETTINGS: Final = {
    # We never fork without exec; gRPC would say on standard error that it skips its handlers, at every child process.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    # What its C core writes, we say ourselves, in one line ("the port is taken").
    "GRPC_VERBOSITY": "NONE",
}
"""Read by gRPC when it is imported; the user's own win."""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    for name, value in GRPC_SETTINGS.items():
        os.environ.setdefault(name, value)
    from lorax_batch_server.cli.application import application

    application(prog_name="lorax-batch")
