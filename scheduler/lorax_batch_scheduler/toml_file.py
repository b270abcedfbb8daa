"""TOML files that an operator writes."""

import tomllib
from pathlib import Path
from typing import Any

from lorax_batch_scheduler.errors import ConfigurationError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return what a file says; `what` is what to call it in an error.

    Raises:
        ConfigurationError: it can't be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{what} '{_shown(path)}' can't be read: {why}") from error
    return parse_toml(text, f"{what} '{_shown(path)}'")


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return what a text says. Raises `ConfigurationError` when it is not TOML."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError(f"{source} is nested too deeply: flatten it") from None
    except ValueError as error:  # not only its own: dates and long numbers come as they are
        raise ConfigurationError(f"{source} is not TOML: {error}") from error


def _shown(path: Path) -> str:
    return str(path).replace("\0", "\\0")
