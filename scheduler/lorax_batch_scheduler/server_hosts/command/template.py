"""Command lines with placeholders, from which servers are started."""

import difflib
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError

LISTS: Final = frozenset({"args", "environment"})
"""Placeholders with any number of values: the word that one stands in is repeated for each."""
STOP_PLACEHOLDERS: Final = frozenset({"gpu", "gpus", "port", "master_port", "name", "grace_s", "python"})
"""What `stop` and `cleanup` may name: they are kept on disk while the server runs, and may hold nothing secret."""
PLACEHOLDERS: Final = STOP_PLACEHOLDERS | LISTS | {"model", "tag", "memory_fraction", "family", "slot"}

_SHIPPED: Final = resources.files("lorax_batch_scheduler.server_hosts.command") / "templates"
_Values = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTemplate:
    """How a server is started and ended."""

    name: str
    command: tuple[str, ...]
    """Runs the server in the foreground, until it ends."""
    stop: tuple[str, ...] = ()
    """Ends it politely; empty: SIGTERM to the process of `command`."""
    cleanup: tuple[str, ...] = ()
    """Run once that process has ended, however: removes what it may have left elsewhere, as a container is."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Further placeholders and what they stand for; slots may change the values."""

    def check(self) -> None:
        """Raise `ConfigurationError` naming the field and the placeholder that is wrong."""
        for name in self.values:
            if not name.isidentifier() or name in PLACEHOLDERS - {"tag"}:
                known = ", ".join(sorted(PLACEHOLDERS - {"tag"}))
                raise ConfigurationError(
                    f"values: '{name}' can't be given a value: it must be a name other than {known}"
                )
            if "\0" in self.values[name]:
                raise ConfigurationError(f"values.{name} holds a NUL, which no argument can: remove it")
        self._check_words("command", self.command, PLACEHOLDERS)
        self._check_words("stop", self.stop, STOP_PLACEHOLDERS)
        self._check_words("cleanup", self.cleanup, STOP_PLACEHOLDERS)
        if "tag" not in self.values and any("tag" in placeholders(word) for word in self.command):
            raise ConfigurationError("command: {tag} needs a value for jobs that name no image tag: set values.tag")

    def uses(self, name: str) -> bool:
        """Tell whether a placeholder stands anywhere in it."""
        return any(name in placeholders(word) for word in (*self.command, *self.stop, *self.cleanup))

    def _check_words(self, where: str, words: tuple[str, ...], built_in: frozenset[str]) -> None:
        known = sorted(built_in | self.values.keys())
        for word in words:
            if "\0" in word:
                raise ConfigurationError(
                    f"{where}: {word!r} holds a NUL, which no argument of a program can: remove it"
                )
            try:
                names = placeholders(word)
            except ValueError as error:
                raise ConfigurationError(
                    f"{where}: '{word}': {error} (a brace that stands for itself is doubled)"
                ) from error
            for name in names:
                if name not in known:
                    near = difflib.get_close_matches(name, known, n=1)
                    hint = f" (did you mean {{{near[0]}}}?)" if near else ""
                    raise ConfigurationError(
                        f"{where}: '{word}' has an unknown placeholder {{{name}}}{hint}; the known ones are: "
                        + ", ".join(f"{{{each}}}" for each in known)
                    )
            if len(LISTS.intersection(names)) > 1:
                raise ConfigurationError(f"{where}: '{word}' holds two lists: put {{args}} and {{environment}} apart")


def placeholders(word: str) -> list[str]:
    """Return the names in braces. Raises `ValueError` for braces that hold anything else."""
    names = []
    for _, name, form, conversion in string.Formatter().parse(word):
        if name is None:
            continue
        if form or conversion or not name.isidentifier():
            extra = (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(f"'{{{name}{extra}}}' is not the name of a placeholder")
        names.append(name)
    return names


def fill(words: tuple[str, ...], values: _Values) -> list[str]:
    """Return an argument list; what values hold is never read as a placeholder again."""
    return [filled for word in words for filled in _fill_word(word, values)]


def _fill_word(word: str, values: _Values) -> Iterator[str]:
    several = next((name for name in placeholders(word) if name in LISTS), None)
    for value in values[several] if several is not None else [""]:
        known = {**values, several: value} if several is not None else values
        # Not str.format, which would look into the values for attributes and items.
        yield "".join(text + (str(known[name]) if name else "") for text, name, _, _ in string.Formatter().parse(word))


def shipped_names() -> list[str]:
    """Return the names of the templates that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _SHIPPED.iterdir() if file.name.endswith(".toml"))


def shipped_text(name: str) -> str:
    """Return the TOML of a template that comes with the package."""
    return (_SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
