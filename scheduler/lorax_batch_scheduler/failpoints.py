"""Named moments at which tests make a process die, stand still or fail: `LORAX_BATCH_FAILPOINTS=NAME=ACTION,...`.

A moment is the one before or after a function: `@failpoint(after="run.after_commit")`. When a name is not armed, its
decorator returns the function as it is: nothing is left of it at run time. Actions:

- `kill`: SIGKILL to this process, as the kernel or a power cut would.
- `stop`: SIGSTOP to this process; whoever armed it goes on with SIGCONT or SIGKILL.
- `error`: raises `FailpointError`, as a bug would.
- `hold:FILE`: waits until there is such a file; the rest of an asyncio process goes on meanwhile.

`@N` after an action (`kill@3`) means the Nth time only. What fires says so on standard error, or at the end of the
file that `LORAX_BATCH_FAILPOINTS_LOG` names: tests see that their fault has happened.
"""

import asyncio
import functools
import inspect
import itertools
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from lorax_batch_scheduler.errors import ConfigurationError

VARIABLE: Final = "LORAX_BATCH_FAILPOINTS"
LOG_VARIABLE: Final = "LORAX_BATCH_FAILPOINTS_LOG"
HOLD_POLL_S: Final = 0.005
STANDARD_ERROR: Final = 2
_ARMED: Final = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>kill|stop|error|hold:(?P<file>[^,@]+))(?:@(?P<nth>[1-9]\d*))?"
)

Function = TypeVar("Function", bound=Callable[..., Any])


class FailpointError(Exception):
    """What an armed `error` raises; nothing handles it."""


@dataclass(slots=True, kw_only=True)
class Armed:
    """What is to happen at one moment."""

    name: str
    action: str
    file: str | None
    nth: int | None
    _hits: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def due(self) -> bool:
        """Count one passing; return whether it is the one that was asked for."""
        return next(self._hits) == self.nth or self.nth is None

    def announce(self) -> None:
        """Say that it fires, at once: before a death there is no time for a log."""
        text = f"failpoint {self.name} fired: {self.action}\n"
        path = os.environ.get(LOG_VARIABLE)
        if path is None:
            os.write(STANDARD_ERROR, text.encode())
        else:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(text)

    def act(self) -> None:
        """Do it, in code that can't await."""
        match self.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "error":
                raise FailpointError(self.name)
            case _:
                while not Path(cast("str", self.file)).exists():
                    time.sleep(HOLD_POLL_S)

    async def hit(self) -> None:
        """Do it when this passing is the one, and let the event loop go on while it holds."""
        if not self.due():
            return
        self.announce()
        if self.file is None:
            self.act()
        while self.file is not None and not await asyncio.to_thread(Path(self.file).exists):  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(HOLD_POLL_S)

    def hit_now(self) -> None:
        """Do it when this passing is the one."""
        if self.due():
            self.announce()
            self.act()


def parse(text: str) -> dict[str, Armed]:
    """Read the variable. Raises `ConfigurationError` for what is not of the form NAME=ACTION[@N]."""
    armed = {}
    for word in filter(None, text.split(",")):
        found = _ARMED.fullmatch(word)
        if found is None:
            raise ConfigurationError(f"{VARIABLE}: '{word}' is not NAME=kill|stop|error|hold:FILE, or that with @N")
        nth = int(found["nth"]) if found["nth"] else None
        armed[found["name"]] = Armed(name=found["name"], action=found["action"], file=found["file"], nth=nth)
    return armed


ARMED: Final = parse(os.environ.get(VARIABLE, ""))
KNOWN: Final[dict[str, str]] = {}
"""Where each name stands: the function it belongs to."""


def failpoint(*, before: str | None = None, after: str | None = None) -> Callable[[Function], Function]:
    """Name the moment before a function runs, and the one after it returned; unarmed, it stays as it is."""

    def decorate(function: Function) -> Function:
        for name in filter(None, (before, after)):
            if name in KNOWN:
                raise ValueError(f"failpoint {name} stands at {KNOWN[name]} already")
            KNOWN[name] = f"{function.__module__}.{function.__qualname__}"
        first, last = ARMED.get(before or ""), ARMED.get(after or "")
        return function if first is None and last is None else _armed(function, first, last)

    return decorate


def check_armed() -> None:
    """Raise `ConfigurationError` when a name is armed that stands nowhere; after all modules are imported."""
    for name in ARMED:
        if name not in KNOWN:
            raise ConfigurationError(f"{VARIABLE}: there is no '{name}'; the names are: {', '.join(sorted(KNOWN))}")


def _armed(function: Function, first: Armed | None, last: Armed | None) -> Function:
    async def awaiting(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        if first is not None:
            await first.hit()
        result = await function(*args, **kwargs)
        if last is not None:
            await last.hit()
        return result

    def calling(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        if first is not None:
            first.hit_now()
        result = function(*args, **kwargs)
        if last is not None:
            last.hit_now()
        return result

    wrapper = awaiting if inspect.iscoroutinefunction(function) else calling
    return cast("Function", functools.wraps(function)(wrapper))
