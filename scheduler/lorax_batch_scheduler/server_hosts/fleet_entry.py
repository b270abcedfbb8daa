"""Reading the entries of a fleet file: what is wrong is told with the entry and the field."""

import difflib
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from lorax_batch_scheduler.errors import ConfigurationError

_SHOWN_CHARACTERS: Final = 200
_Entry = TypeVar("_Entry", bound=msgspec.Struct)


def read_entry(raw: object, kind: type[_Entry], where: str) -> _Entry:
    """Return an entry as its type says. Raises `ConfigurationError`."""
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{where}: must be a table, not {shown(raw)}")
    check_keys(raw, kind.__struct_encode_fields__, where)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`")
        value = f" = {shown(raw[field])}" if field in raw else ""
        raise ConfigurationError(f"{where}: {field}{value}: {what}" if field else f"{where}: {what}") from error


def check_keys(raw: dict[str, Any], known: Iterable[str], where: str) -> None:
    """Raise `ConfigurationError` for a key that is not known, naming the nearest that is."""
    known = sorted(known)
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the known ones are: {', '.join(known)}"
            raise ConfigurationError(f"{where}: unknown key {shown(key)} ({hint})")


def entries(document: dict[str, Any], name: str, source: str) -> list[tuple[str, Any]]:
    """Return the entries of a list of tables, each with how to call it. Raises `ConfigurationError`."""
    raw = document.get(name, [])
    if not isinstance(raw, list):
        raise ConfigurationError(f"{source}: {name}: must be a list of tables: write [[{name}]]")
    named = []
    for number, entry in enumerate(raw, 1):
        identity = entry.get("id", entry.get("url")) if isinstance(entry, dict) else None
        called = f" {shown(identity)}" if isinstance(identity, str) else ""
        named.append((f"{source}: {name} entry {number}{called}", entry))
    return named


def shown(value: object) -> str:
    """Return how to show a value in a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
