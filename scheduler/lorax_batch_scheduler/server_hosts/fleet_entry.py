"""Reading the entries of a fleet file: what is wrong is told with the entry and the field."""

import difflib
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.misfit import Misfit, find_misfit

_SHOWN_CHARACTERS: Final = 200
_SECRET: Final = {"env", "environment"}
"""Fields whose values are shown to nobody."""
_Entry = TypeVar("_Entry", bound=msgspec.Struct)


def read_entry(raw: object, kind: type[_Entry], where: str) -> _Entry:
    """Return an entry as its type says. Raises `ConfigurationError`."""
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{where}: must be a table, not {shown(raw)}")
    check_keys(raw, kind.__struct_encode_fields__, where)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {told(find_misfit(raw, kind, error))}") from error


def told(misfit: Misfit) -> str:
    """Return what is wrong with a field, with its value unless that may be a secret."""
    if not misfit.problem:
        *way, name = misfit.steps
        parent = Misfit(steps=tuple(way), value=None, problem="").path
        return f"{parent}: {_unknown(str(name), misfit.known)}".removeprefix(": ")
    if misfit.problem == "is missing" or _SECRET & set(misfit.steps):
        return f"{misfit.path}: {misfit.problem}"
    # TOML has no null: to leave the field out is what it stands for.
    return f"{misfit.path} = {shown(misfit.value)}: {misfit.problem.replace(' or null', '')}"


def check_keys(raw: dict[str, Any], known: Iterable[str], where: str) -> None:
    """Raise `ConfigurationError` for a key that is not known, naming the nearest that is."""
    known = sorted(known)
    for key in raw:
        if key not in known:
            raise ConfigurationError(f"{where}: {_unknown(key, known)}")


def _unknown(key: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the known ones are: {', '.join(known)}"
    return f"unknown key {shown(key)} ({hint})"


def entries(document: dict[str, Any], name: str, source: str) -> list[tuple[str, Any]]:
    """Return the entries of a list of tables, each with how to call it. Raises `ConfigurationError`."""
    raw = document.get(name, [])
    if not isinstance(raw, list):
        raise ConfigurationError(f"{source}: {name}: must be a list of tables: write [[{name}]]")
    named = []
    for number, entry in enumerate(raw, 1):
        identity = entry.get("id", entry.get("url")) if isinstance(entry, dict) else None
        called = f" {shown(identity)}" if isinstance(identity, str) and "@" not in identity else ""  # no passwords
        named.append((f"{source}: {name} entry {number}{called}", entry))
    return named


def shown(value: object) -> str:
    """Return how to show a value in a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
