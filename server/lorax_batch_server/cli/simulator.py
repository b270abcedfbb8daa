"""`lorax-batch simulator`: hands over to the simulator, a program of its own."""

import os
import sys
from typing import Any, Final

import typer

SETTINGS: Final[dict[str, Any]] = {
    "add_help_option": False,  # --help is the simulator's own
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}


def simulator(context: typer.Context) -> None:
    """Run a simulated LoRAX server to develop against (`simulator --help` lists its options)."""
    # Replaced, not started as a child: signals and the exit code are then the simulator's own.
    os.execv(sys.executable, [sys.executable, "-m", "lorax_simulator", *context.args])  # noqa: S606  # no shell
