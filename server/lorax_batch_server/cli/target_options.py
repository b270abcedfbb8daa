"""Options that every command with `--target` gets, whatever else it takes."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import typer

_TARGET: Final = "target"


def add_target_options(
    application: typer.Typer,
    parameters: Sequence[inspect.Parameter],
    given: Callable[..., AbstractContextManager[None]],
) -> None:
    """Give options to each command that has `--target`, and to those of the groups below.

    A command runs within `given`, called with what its user said, by the names of the parameters.
    """
    names = [parameter.name for parameter in parameters]
    for info in _commands(application):
        if info.callback is not None and _TARGET in inspect.signature(info.callback).parameters:
            info.callback = _with_options(info.callback, parameters, names, given)


def _commands(application: typer.Typer) -> Iterator[Any]:
    yield from application.registered_commands
    for group in application.registered_groups:
        if group.typer_instance is not None:
            yield from _commands(group.typer_instance)


def _with_options(
    command: Callable[..., Any],
    parameters: Sequence[inspect.Parameter],
    names: Sequence[str],
    given: Callable[..., AbstractContextManager[None]],
) -> Callable[..., Any]:
    @functools.wraps(command)
    def run(**options: Any) -> Any:  # noqa: ANN401 - whatever the command takes
        with given(**{name: options.pop(name) for name in names}):
            return command(**options)

    own = inspect.signature(command, eval_str=True)
    more = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {each.name: each.annotation for each in (*own.parameters.values(), *more)}
    return run
