"""Checks whether LoRAX can turn a JSON schema into a grammar.

A schema that does not compile fails the prefill of every row that runs beside it, so it must never be sent. The rules
are those of the converter in the server (outlines 0.1.1): keywords are looked at in a fixed order and the first one
that is there decides, as in `_KEYWORDS`; what stands beside it is ignored.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.limits import MAX_SCHEMA_DEPTH

_FORMATS: Final = ("date", "date-time", "time", "uuid")
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_MAX_VISITS: Final = 20_000
"""Subschemas that compiling would go through; references multiply them."""


def check_schema(schema: object, path: str) -> None:
    """Raise `InvalidRowError` with the place in the schema that LoRAX can't compile."""
    _Check(schema, path).visit(schema, path, ())


def _fault(path: str, problem: str) -> InvalidRowError:
    return InvalidRowError(Code.INVALID_SCHEMA, path, f"LoRAX can't compile this JSON schema: '{path}' {problem}")


class _Check:
    """One walk over a schema, along its references."""

    def __init__(self, root: object, path: str) -> None:
        self._root = root
        self._root_path = path
        self._visits = 0

    def visit(self, schema: object, path: str, references: tuple[str, ...], depth: int = 0) -> None:
        """Check a schema that was reached through these references."""
        self._visits += 1
        if self._visits > _MAX_VISITS:
            raise _fault(self._root_path, f"expands to more than {_MAX_VISITS} subschemas: simplify it")
        if depth > MAX_SCHEMA_DEPTH:
            raise _fault(self._root_path, f"is nested deeper than {MAX_SCHEMA_DEPTH} levels: flatten it")
        if not isinstance(schema, dict):
            raise _fault(path, f"is {shown(schema)}, but must be an object")
        if "not" in schema:
            raise _fault(f"{path}.not", "is not supported: say what is allowed instead")
        if not schema:
            return
        for keyword, check in _KEYWORDS.items():
            if keyword in schema:
                check(self, schema, path, references, depth)
                return
        known = ", ".join(_KEYWORDS)
        raise _fault(path, f"says nothing about the value: give it one of {known}, or make it {{}}")

    def properties(self, schema: dict[str, object], path: str, references: tuple[str, ...], depth: int) -> None:
        """An object with named fields."""
        properties = schema["properties"]
        if not isinstance(properties, dict):
            raise _fault(f"{path}.properties", f"is {shown(properties)}, but must be an object")
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise _fault(f"{path}.required", f"is {shown(required)}, but must be a list of field names")
        for name, value in properties.items():
            self.visit(value, f"{path}.properties.{name}", references, depth + 1)

    def reference(self, schema: dict[str, object], path: str, references: tuple[str, ...], depth: int) -> None:
        """A reference inside the schema."""
        reference = schema["$ref"]
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _fault(f"{path}.$ref", f"is {shown(reference)}, but must point into the schema (#/$defs/...)")
        if reference == "#" or reference in references:
            raise _fault(f"{path}.$ref", f"is {shown(reference)}, which is recursive: unroll it to a fixed depth")
        target = _resolve(self._root, reference)
        if target is None:
            raise _fault(f"{path}.$ref", f"is {shown(reference)}, which does not exist")
        self.visit(target, f"{self._root_path}{reference[1:].replace('/', '.')}", (*references, reference), depth + 1)

    def type(self, schema: dict[str, object], path: str, references: tuple[str, ...], depth: int) -> None:
        """A value of one type or one of several."""
        kinds = schema["type"]
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if kind not in _TYPES:
                raise _fault(f"{path}.type", f"is {shown(kind)}, but must be one of {', '.join(_TYPES)}")
        if kinds == []:
            raise _fault(f"{path}.type", "is an empty list")
        if kinds == "string":
            _check_string(schema, path)
        elif kinds in ("number", "integer"):
            _check_bounds(schema, path, _DIGITS)
        elif kinds == "array":
            if _check_bounds(schema, path, (("minItems", "maxItems"),)) and "items" in schema:
                self.visit(schema["items"], f"{path}.items", references, depth + 1)
        elif kinds == "object":
            values = schema.get("additionalProperties", True)
            if _check_bounds(schema, path, (("minProperties", "maxProperties"),)) and values is not None:
                if values is False:
                    problem = "is false without 'properties': no such value can be made, give 'properties'"
                    raise _fault(f"{path}.additionalProperties", problem)
                if values is not True:
                    self.visit(values, f"{path}.additionalProperties", references, depth + 1)


_KeywordCheck = Callable[[_Check, dict[str, object], str, tuple[str, ...], int], None]


def _each(keyword: str) -> _KeywordCheck:
    def check(walk: _Check, schema: dict[str, object], path: str, references: tuple[str, ...], depth: int) -> None:
        schemas = schema[keyword]
        if not isinstance(schemas, list) or not schemas:
            raise _fault(f"{path}.{keyword}", f"is {shown(schemas)}, but must be a non-empty list of schemas")
        for index, item in enumerate(schemas):
            walk.visit(item, f"{path}.{keyword}[{index}]", references, depth + 1)

    return check


def _enum(_walk: _Check, schema: dict[str, object], path: str, _references: tuple[str, ...], _depth: int) -> None:
    values = schema["enum"]
    if not isinstance(values, list) or not values:
        raise _fault(f"{path}.enum", f"is {shown(values)}, but must be a non-empty list")
    for index, value in enumerate(values):
        _check_scalar(value, f"{path}.enum[{index}]")


def _const(_walk: _Check, schema: dict[str, object], path: str, _references: tuple[str, ...], _depth: int) -> None:
    _check_scalar(schema["const"], f"{path}.const")


_KEYWORDS: Final[dict[str, _KeywordCheck]] = {
    "properties": _Check.properties,
    "allOf": _each("allOf"),
    "anyOf": _each("anyOf"),
    "oneOf": _each("oneOf"),
    "prefixItems": _each("prefixItems"),
    "enum": _enum,
    "const": _const,
    "$ref": _Check.reference,
    "type": _Check.type,
}
_DIGITS: Final = (
    ("minDigits", "maxDigits"),
    ("minDigitsInteger", "maxDigitsInteger"),
    ("minDigitsFraction", "maxDigitsFraction"),
    ("minDigitsExponent", "maxDigitsExponent"),
)


def _check_scalar(value: object, path: str) -> None:
    if isinstance(value, dict | list):
        raise _fault(path, f"is {shown(value)}; only strings, numbers, booleans and null can be compiled")


def _check_string(schema: dict[str, object], path: str) -> None:
    if "minLength" in schema or "maxLength" in schema:
        _check_bounds(schema, path, (("minLength", "maxLength"),))
    elif "pattern" in schema:
        if not isinstance(schema["pattern"], str) or not schema["pattern"]:
            raise _fault(f"{path}.pattern", f"is {shown(schema['pattern'])}, but must be a non-empty string")
    elif "format" in schema and schema["format"] not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise _fault(f"{path}.format", f"is {shown(schema['format'])}; only {known} compile: use 'pattern' instead")


def _check_bounds(schema: dict[str, object], path: str, pairs: tuple[tuple[str, str], ...]) -> bool:
    """Check pairs of limits; tells whether anything is allowed at all."""
    for low_name, high_name in pairs:
        for name in (low_name, high_name):
            bound = schema.get(name, 0)
            if isinstance(bound, bool) or not isinstance(bound, int) or bound < 0:
                raise _fault(f"{path}.{name}", f"is {shown(bound)}, but must be an integer of at least 0")
        low, high = schema.get(low_name, 0), schema.get(high_name)
        if isinstance(low, int) and isinstance(high, int) and high < low:
            raise _fault(f"{path}.{high_name}", f"is {high}, which is less than {low_name} {low}")
        if high == 0:
            return False
    return True


def _resolve(root: object, reference: str) -> object:
    """Return what a JSON pointer points to, None for nothing."""
    target = root
    for part in reference[2:].split("/"):
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict):
            target = target.get(key)
        # No list has more digits of items, and Python reads no number of thousands of digits.
        elif isinstance(target, list) and len(key) < 10 and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            return None
    return target
