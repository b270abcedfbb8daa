"""What constrains the output of a row: `response_format` and `tools`, checked once for each distinct value."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.json_schema import check_schema
from lorax_batch_scheduler.ingest.rules import apply_rules, boolean, need, non_empty_text, one_of, text, wrong_type

_encoder = msgspec.json.Encoder()
_REMEMBERED: Final = 128
_MAX_REMEMBERED_BYTES: Final = 64 << 10


class Constraint(NamedTuple):
    """A checked value in the form to send."""

    json: msgspec.Raw
    schema_hash: int
    """Never 0, and the same in every process."""
    names: tuple[str, ...] = ()
    """Of the functions, for tools."""


def _remembered(check: "_Check") -> "_Check":
    """Return the check with a small memory: the rows of a dataset share few distinct values."""
    remembering = lru_cache(maxsize=_REMEMBERED)(check)

    def checked(raw: bytes) -> Constraint | None:
        return remembering(raw) if len(raw) <= _MAX_REMEMBERED_BYTES else check(raw)

    return checked


_Check = Callable[[bytes], Constraint | None]


@_remembered
def chat_response_format(raw: bytes) -> Constraint | None:
    """Check the `response_format` of a chat; None when it constrains nothing."""
    path = "body.response_format"
    value = _object(raw, path)
    kind = need(value, "type", path)
    if kind == "text":
        return None
    if kind == "json_object":
        fields = apply_rules({"type": text, "schema": _schema}, value, path)
    elif kind == "json_schema":
        need(value, "json_schema", path)
        fields = apply_rules({"type": text, "json_schema": _named_schema}, value, path)
    else:
        raise _unknown_kind(kind, path, "text, json_object, json_schema")
    return _constraint(fields)


@_remembered
def generate_response_format(raw: bytes) -> Constraint | None:
    """Check the `response_format` of LoRAX's own generate; None when it constrains nothing."""
    path = "body.parameters.response_format"
    value = _object(raw, path)
    kind = need(value, "type", path)
    if kind == "text":
        return None
    if kind not in ("json_object", "json_schema"):
        raise _unknown_kind(kind, path, "text, json_object, json_schema")
    return _constraint(apply_rules({"type": text, "schema": _schema}, value, path))


@_remembered
def chat_tools(raw: bytes) -> Constraint | None:
    """Check `tools`; None for an empty list."""
    path = "body.tools"
    value: object = msgspec.json.decode(raw)
    if not isinstance(value, list):
        raise wrong_type(value, path, "a list of functions")
    tools = [_tool(item, f"{path}[{index}]") for index, item in enumerate(value)]
    names = tuple(name for name, _ in tools)
    if len(set(names)) < len(names):
        raise InvalidRowError(Code.INVALID_VALUE, path, f"'{path}' names a function twice: {', '.join(names)}")
    return _constraint([tool for _, tool in tools], names) if tools else None


def _tool(value: object, path: str) -> tuple[str, dict[str, object]]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, "an object")
    need(value, "type", path)
    need(value, "function", path)
    tool = apply_rules({"type": one_of("function"), "function": _function}, value, path)
    function = tool["function"]
    assert isinstance(function, dict)
    return function["name"], tool


def _function(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, "an object")
    need(value, "name", path)
    # `strict` changes nothing: the grammar is always enforced.
    rules = {"name": non_empty_text, "description": text, "parameters": _schema, "strict": boolean}
    function = apply_rules(rules, value, path)
    function.pop("strict", None)
    # LoRAX insists on parameters; OpenAI takes their absence as "none".
    function.setdefault("parameters", {"type": "object", "properties": {}})
    return function


def _named_schema(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, "an object")
    need(value, "name", path)
    need(value, "schema", path)
    rules = {"name": text, "description": text, "strict": boolean, "schema": _schema}
    return apply_rules(rules, value, path)


def _schema(value: object, path: str) -> object:
    check_schema(value, path)
    return value


def _unknown_kind(kind: object, path: str, known: str) -> InvalidRowError:
    message = f"'{path}.type' is {shown(kind)}, but must be one of {known}"
    return InvalidRowError(Code.INVALID_VALUE, f"{path}.type", message)


def _object(raw: bytes, path: str) -> dict[str, object]:
    value: object = msgspec.json.decode(raw)
    if not isinstance(value, dict):
        raise wrong_type(value, path, "an object")
    return value


def _constraint(value: object, names: tuple[str, ...] = ()) -> Constraint:
    encoded = _encoder.encode(value)
    digest = hashlib.blake2b(encoded, digest_size=8).digest()
    return Constraint(msgspec.Raw(encoded), int.from_bytes(digest, "big") or 1, names)
