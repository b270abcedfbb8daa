"""Decodes request bodies and words the failures as the router's JSON layer does."""

import re
from typing import TypeVar

import msgspec

from lorax_simulator import errors

T = TypeVar("T")

_MISSING = re.compile(r"Object missing required field `(\w+)`")
_GOT = re.compile(r"Expected `(.+?)`, got `(\w+)`")
_RANGE = re.compile(r"Expected `(\w+)` [<>]=? ?-?\d+")
_VARIANT = re.compile(r"Invalid (?:enum )?value '?(.*?)'?$")
_PATH = re.compile(r"^(.*?) - at `\$\.?(.*)`$", re.DOTALL)
_EXPECTED = {"str": "a string", "array": "a sequence", "int": "i32", "float": "f32", "bool": "a boolean"}
_GIVEN = {
    "str": "string",
    "int": "integer",
    "float": "floating point number",
    "bool": "boolean",
    "array": "sequence",
    "object": "map",
    "null": "null",
}
_decoders: dict[type, msgspec.json.Decoder[object]] = {}


def decode(content_type: str, body: bytes, kind: type[T]) -> T:
    """Return the body as `kind`.

    Raises PlainTextError: 415 for another content type, 400 for broken JSON, 422 for a wrong type.
    """
    if not _is_json(content_type):
        raise errors.not_json_content()
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        decoded = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise errors.wrong_type(f"{_reason(str(error))} at {_end_of(body)}") from error
    except msgspec.DecodeError as error:
        raise errors.broken_json(_syntax_reason(str(error), body)) from error
    assert isinstance(decoded, kind)
    return decoded


def _is_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


def _reason(text: str) -> str:
    located = _PATH.match(text)
    message, path = located.groups() if located else (text, "")
    prefix = f"{path}: " if path else ""
    if missing := _MISSING.search(message):
        return f"{prefix}missing field `{missing[1]}`"
    if got := _GOT.search(message):
        expected = _EXPECTED.get(got[1].partition(" ")[0], "a map")
        return f"{prefix}invalid type: {_GIVEN.get(got[2], got[2])}, expected {expected}"
    if _RANGE.search(message):
        return f"{prefix}invalid value: integer out of range, expected an integer of the field's type"
    if variant := _VARIANT.search(message):
        return f"{prefix}unknown variant `{variant[1]}`"
    return f"{prefix}{message}"


def _syntax_reason(text: str, body: bytes) -> str:
    if "truncated" in text:
        return f"EOF while parsing a value at {_end_of(body)}"
    position = re.search(r"\(byte (\d+)\)", text)
    end = int(position[1]) + 1 if position else len(body)
    return f"expected value at {_end_of(body[:end])}"


def _end_of(body: bytes) -> str:
    line_start = body.rfind(b"\n") + 1
    lines = body.count(b"\n") + 1
    return f"line {lines} column {len(body) - line_start}"
