"""What does not fit in a document that people write, in words: from what msgspec says and the value that is there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

_MESSAGE: Final = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_NAMED: Final = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """What is wrong at one place of a document."""

    steps: tuple[str | int, ...]
    """From the top to it: names and numbers."""
    value: Any
    """What is there; of a field that is missing: where it should be."""
    problem: str
    """`must be ...`, `is missing`, or "" when it is a field that nobody knows."""
    known: tuple[str, ...] = ()
    """The fields that are known, of one that is not."""

    @property
    def path(self) -> str:
        """The steps as one writes them: `slots[0].class`."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps).removeprefix(".")


def find_misfit(document: Any, kind: Any, error: msgspec.ValidationError) -> Misfit:  # noqa: ANN401 - any document
    """Return what an error of converting a document to a type is about.

    A pattern is told by the `description` of its `Meta`.
    """
    parsed = _MESSAGE.fullmatch(str(error))
    assert parsed is not None
    what, path = parsed["what"], parsed["path"] or ""
    steps, hint, value = _follow(document, kind, path)
    if parsed["key"]:
        hint = _key_hint(hint)
        value = next(key for key in value if not _fits(key, hint))
        return Misfit(steps=(*steps, value), value=value, problem=_in_words(what, hint))
    if (named := _NAMED.fullmatch(what)) is not None:
        struct = _struct_in(hint)
        known = struct.__struct_encode_fields__ if struct is not None else ()
        if named[1] == "missing required":
            return Misfit(steps=(*steps, named[2]), value=value, problem="is missing")
        return Misfit(steps=(*steps, named[2]), value=value, problem="", known=tuple(known))
    return Misfit(steps=tuple(steps), value=value, problem=_in_words(what, hint))


def _follow(value: Any, hint: Any, path: str) -> tuple[list[str | int], Any, Any]:  # noqa: ANN401
    """Return the steps of a path, the type that is asked for there, and the value."""
    steps: list[str | int] = []
    for step in _STEP.finditer(path):
        key: str | int
        if step[1] is not None:
            key, hint = step[1], _field_hint(hint, step[1])
        elif isinstance(value, Mapping):  # the decoder does not tell the key: it is the first whose value does not fit
            hint = _value_hint(hint)
            key = _first_misfit(value, hint)
        else:
            key, hint = int(step[2]), _value_hint(hint)
        steps.append(key)
        value = value[key]
    return steps, hint, value


def _field_hint(hint: Any, name: str) -> Any:  # noqa: ANN401
    struct = _struct_in(hint)
    if struct is None:
        return Any
    own = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True)).get(name, name)
    return get_type_hints(struct, include_extras=True).get(own, Any)


def _value_hint(hint: Any) -> Any:  # noqa: ANN401
    """Return the type of the items of a list or of the values of a mapping."""
    for part in _alternatives(hint):
        if get_origin(part) in (list, tuple):
            return get_args(part)[0]
        if get_origin(part) is dict:
            return get_args(part)[1]
    return Any


def _key_hint(hint: Any) -> Any:  # noqa: ANN401
    return next((get_args(part)[0] for part in _alternatives(hint) if get_origin(part) is dict), Any)


def _alternatives(hint: Any) -> list[Any]:  # noqa: ANN401
    """Return the types of a union, without what is said about them."""
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (list, tuple, dict, Literal) or not get_args(hint):
        return [hint]
    return [each for part in get_args(hint) for each in _alternatives(part)]


def _struct_in(hint: Any) -> type[msgspec.Struct] | None:  # noqa: ANN401
    found = (part for part in _alternatives(hint) if isinstance(part, type) and issubclass(part, msgspec.Struct))
    return next(found, None)


def _first_misfit(values: Mapping[str, Any], hint: Any) -> str:  # noqa: ANN401
    return next(key for key, value in values.items() if not _fits(value, hint))


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _description(hint: Any) -> str:  # noqa: ANN401
    """Return what is said in words about a type or a part of it."""
    arguments = get_args(hint)
    for part in arguments:
        if isinstance(part, msgspec.Meta) and part.description:
            return part.description
    return next((words for part in arguments if (words := _description(part))), "")


def _in_words(what: str, hint: Any) -> str:  # noqa: ANN401
    """Return `Expected `int | null`, got `str` as people would say it."""
    expected = what.split(", got ")[0].removeprefix("Expected ")
    if "matching regex" in expected and (described := _description(hint)):
        return f"must be {described}"
    if expected.startswith("Invalid enum value"):
        choices = [choice for part in _alternatives(hint) if get_origin(part) is Literal for choice in get_args(part)]
        return f"must be one of {', '.join(repr(choice) for choice in choices)}"
    words = re.sub(
        r"`([a-z |]+)`", lambda found: " or ".join(_WORDS.get(w, w) for w in found[1].split(" | ")), expected
    )
    words = re.sub(r"(\d)\.0\b", r"\1", words)
    words = words.replace("a text of length >= 1", "a text that is not empty")
    words = words.replace("a list of length >= 1", "a list that is not empty")
    return f"must be {words}"
