"""`lorax-batch fleet top`: the fleet at a glance, as it changes."""

import os
import sys
import time
from contextlib import closing
from typing import IO, TYPE_CHECKING, Annotated, cast

import typer

from lorax_batch_server.cli.options import DEFAULT_TARGET, TargetOption, open_client
from lorax_batch_server.cli.output import PIPE_WIDTH
from lorax_batch_server.cli.patient_terminal import PatientTerminal

if TYPE_CHECKING:
    from lorax_batch_client import FleetEvent, FleetSnapshot
    from rich.console import RenderableType


def top(
    once: Annotated[bool, typer.Option("--once", help="Print it as it is now; what a pipe gets anyway.")] = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Show slots, servers, load and queues, live, until Ctrl-C."""
    if once or not sys.stdout.isatty():
        _print_frame(target)
        return
    try:
        _show(target)
    except KeyboardInterrupt:
        return


def _print_frame(target: str) -> None:
    from rich.console import Console

    from lorax_batch_server.cli.fleet_frame import frame

    with open_client(target) as client:
        fleet = _first(next(client.watch_fleet()))
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    console.print(frame(fleet), soft_wrap=not console.is_terminal)


def _show(target: str) -> None:
    from rich.console import Console
    from rich.live import Live

    display = _Display(target)
    with open_client(target, sleep=display.wait) as client:
        events = client.watch_fleet()
        # The first one before the screen is taken: that nobody answers is told like everywhere else.
        display.take(next(events))
        with closing(PatientTerminal(os.ttyname(sys.stdout.fileno()))) as terminal:
            console = Console(file=cast("IO[str]", terminal))  # what rich uses of it
            with Live(get_renderable=lambda: display.frame(console.height), console=console, screen=True):
                for event in events:
                    display.take(event)


def _first(event: "FleetEvent") -> "FleetSnapshot":
    from lorax_batch_client import FleetSnapshot

    assert isinstance(event, FleetSnapshot), "a watch begins with a snapshot"
    return event


class _Display:
    """What the screen shows; drawn by a thread of its own, while this one waits for news."""

    def __init__(self, target: str) -> None:
        # Here, not in the thread that draws: imports are no work for two threads at once.
        from lorax_batch_client import FleetSnapshot

        from lorax_batch_server.cli.fleet_frame import frame

        self._draw = frame
        self._target = target
        self._fleet = FleetSnapshot()
        self._trouble = ""

    def take(self, event: "FleetEvent") -> None:
        self._fleet, self._trouble = self._fleet.after(event), ""

    def wait(self, seconds: float) -> None:
        """Wait for the next try to reach the service."""
        self._trouble = f"{self._target} does not answer; this is how it was"
        time.sleep(seconds)

    def frame(self, height: int) -> "RenderableType":
        return self._draw(self._fleet, height=height, trouble=self._trouble)
