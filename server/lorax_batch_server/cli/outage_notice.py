"""Tells who watches that the service has gone away, and that it is back; once each."""

import time
from collections.abc import Callable

import typer


class OutageNotice:
    """What a client calls instead of `sleep` between its tries to reach the service."""

    def __init__(self, target: str, *, sleep: Callable[[float], object] = time.sleep) -> None:
        self._target = target
        self._sleep = sleep
        self._has_answered = False
        self._told = False

    def wait(self, seconds: float) -> None:
        """Wait for the next try. One that has never answered is soon given up, and that is told then."""
        if self._has_answered and not self._told:
            self._told = True
            typer.echo(f"lorax-batch: {self._target} does not answer; waiting for it (Ctrl-C ends this)", err=True)
        self._sleep(seconds)

    def over(self) -> None:
        """Something has come from the service."""
        self._has_answered = True
        if self._told:
            self._told = False
            typer.echo(f"lorax-batch: {self._target} answers again", err=True)
