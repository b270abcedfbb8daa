"""The options by which commands are given the key for their calls."""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Final

import typer

from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.target_options import add_target_options

KEY_VARIABLE: Final = "LORAX_BATCH_API_KEY"
KEY_FILE_VARIABLE: Final = "LORAX_BATCH_API_KEY_FILE"
MAX_FILE_CHARACTERS: Final = 1_000
"""More than any key has, white space included."""
KeyOption = Annotated[
    str,
    typer.Option(
        "--api-key",
        metavar="KEY",
        show_default=False,
        help=f"Also variable {KEY_VARIABLE}, or a file: other users of this machine see options.",
    ),
]
KeyFileOption = Annotated[
    str, typer.Option("--api-key-file", metavar="FILE", show_default=False, help=f"Also variable {KEY_FILE_VARIABLE}.")
]

_given: ContextVar[tuple[str, str]] = ContextVar("given", default=("", ""))


def add_key_options(application: typer.Typer) -> None:
    """Give every command that calls a service the options for a key."""
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=annotation)
        for name, annotation in (("api_key", KeyOption), ("api_key_file", KeyFileOption))
    ]
    add_target_options(application, parameters, _with_key)


def chosen_key() -> str:
    """Return the key for calls, "" for none: of the options, else of the variables; a key goes before a file."""
    key, file = _given.get()
    if not key and not file:
        key, file = os.environ.get(KEY_VARIABLE, ""), os.environ.get(KEY_FILE_VARIABLE, "")
    return _checked(key.strip() if key or not file else _read(file))


@contextmanager
def _with_key(*, api_key: str, api_key_file: str) -> Iterator[None]:
    before = _given.set((api_key, api_key_file))
    try:
        yield
    finally:
        _given.reset(before)


def _read(file: str) -> str:
    if "\0" in file:
        raise CommandError("--api-key-file: holds a NUL character: remove it")
    try:
        with Path(file).open(encoding="ascii") as opened:
            text = opened.read(MAX_FILE_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise CommandError(f"--api-key-file: {file} holds more than a key") from error
    except OSError as error:
        raise CommandError(f"--api-key-file: {file} can't be read: {error.strerror}") from error
    if len(text) > MAX_FILE_CHARACTERS:
        raise CommandError(
            f"--api-key-file: {file} holds more than {MAX_FILE_CHARACTERS} characters: give a key's file"
        )
    return text.strip()


def _checked(key: str) -> str:
    if not key.isascii() or any(character.isspace() or not character.isprintable() for character in key):
        raise CommandError("the API key holds characters that no key has: give it as `keys create` printed it")
    return key
