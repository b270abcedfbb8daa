"""What is wrong with which field of a trace, in words: from what the decoder says and the value that is there."""

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, Final, get_args, get_type_hints

import msgspec

from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay.trace import Trace

SHOWN_CHARACTERS: Final = 60
MESSAGE: Final = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
NAMED: Final = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def field_error(tree: dict[str, Any], message: str) -> InvalidInputError:
    """Return the error for a message of msgspec about `tree`, with the path of the field and its value."""
    parsed = MESSAGE.fullmatch(message)
    assert parsed is not None
    what, path = parsed["what"], parsed["path"] or ""
    steps, kind, value = _follow(tree, path)
    field = "trace" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    if (named := NAMED.fullmatch(what)) is not None:
        problem, name = named[1], named[2]
        if problem == "missing required":
            return InvalidInputError(f"{field}.{name}", "is missing")
        known = kind.__struct_fields__ if kind is not None else ()
        return InvalidInputError(f"{field}.{name}", f"is no field of a trace{near(name, known)}")
    return InvalidInputError(field, f"{_shown(value)} is wrong: {_in_words(what)}")


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like this one, else at all of them."""
    names = sorted(known)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if found:
        return f"; did you mean '{found[0]}'?"
    return f"; known are: {', '.join(names[:20])}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _follow(tree: Any, path: str) -> tuple[list[str | int], type[msgspec.Struct] | None, Any]:  # noqa: ANN401
    """Return the steps of a path, the type of the object there (None: no object) and the value."""
    steps: list[str | int] = []
    hint: Any = Trace
    value: Any = tree
    for step in STEP.finditer(path):
        key: str | int
        if step[1] is not None:
            key = step[1]
            hint = get_type_hints(_struct_in(hint)).get(key) if _struct_in(hint) is not None else None
        elif step[2] is not None:
            key = int(step[2])
        else:  # the decoder does not tell the key of a mapping: it is the first whose value does not fit
            key = _first_misfit(value, _struct_in(hint))
        steps.append(key)
        value = value[key]
    return steps, _struct_in(hint), value


def _first_misfit(values: dict[str, Any], kind: type[msgspec.Struct] | None) -> str:
    for key, value in values.items():
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return key
    raise AssertionError("all of it fits")


def _struct_in(hint: Any) -> type[msgspec.Struct] | None:  # noqa: ANN401  # any annotation
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    found = (_struct_in(argument) for argument in get_args(hint))
    return next((kind for kind in found if kind is not None), None)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def _in_words(what: str) -> str:
    """Return `Expected `int | null`, got `str`` as people would say it."""
    expected = what.split(", got ")[0].removeprefix("Expected ")
    words = re.sub(r"`([a-z |]+)`", lambda found: " or ".join(WORDS.get(w, w) for w in found[1].split(" | ")), expected)
    words = words.replace("a text of length >= 1", "a text that is not empty")
    words = words.replace("a list of length >= 1", "a list that is not empty")
    return f"must be {words}"
