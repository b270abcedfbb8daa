"""What commands print: JSON lines for programs; tables and pairs for people."""

import dataclasses
import enum
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from lorax_batch_server.printable import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Wide enough that nothing is cut or wrapped where a program reads.
PIPE_WIDTH = 4_000
_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")
"""JSON may hold them as they are, but terminals obey some, and some readers take others for the end of a line."""


def say(line: str, *, err: bool = False) -> None:
    """Print one line; what would be a second one, or move the cursor, is shown escaped."""
    typer.echo(printable(line), err=err)


def print_json(value: "DataclassInstance | Mapping[str, Any]") -> None:
    """Print one value as one line."""
    fields = value if isinstance(value, Mapping) else fields_of(value)
    line = json.dumps(fields, default=_encode, ensure_ascii=False, separators=(",", ":"))
    typer.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", line))
    sys.stdout.flush()


def fields_of(value: "DataclassInstance") -> dict[str, Any]:
    """Return the fields of a value, nested ones too; secrets (fields left out of the repr) are left out here too."""
    return {
        field.name: _plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.repr or field.name not in ("hf_token", "adapter_token")
    }


def event_name(event: "DataclassInstance") -> str:
    """Return the kind of an event as JSON names it: `SlotChanged` is `slot_changed`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).lstrip("_")


def _plain(value: Any) -> Any:  # noqa: ANN401  # any field of any value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_of(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _encode(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their headings; numbers stand to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(show(cell), justify="right" if _is_number(cell) else "left") for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    console.print(table, soft_wrap=not console.is_terminal)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print what has a value, one pair a line."""
    kept = [(key, show(value)) for key, value in pairs if value not in (None, "", (), {})]
    width = max((len(key) for key, _ in kept), default=0)
    for key, value in kept:
        say(f"{key:<{width}}  {value}")


def show(value: object) -> str:
    """Return a value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, timedelta):
        return show_span(value)
    return printable(str(value))


def show_count(count: int, noun: str) -> str:
    """Return how many of something there are."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def show_span(span: timedelta) -> str:
    """Return a length of time with its two largest units."""
    seconds = max(0, round(span.total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {seconds % 60:02} s"
    return f"{seconds} s"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
