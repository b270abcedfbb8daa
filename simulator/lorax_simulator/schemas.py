"""JSON schemas as the structured-output compiler of LoRAX takes them: which fail, and a value for those that do not."""

from collections.abc import Mapping

from lorax_simulator.shard_errors import PREFIX

_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
_FORMATS = ("date", "time", "date-time", "uuid")
_KNOWN = (
    "type",
    "properties",
    "enum",
    "const",
    "$ref",
    "oneOf",
    "anyOf",
    "allOf",
    "items",
    "prefixItems",
    "patternProperties",
)
_DEPTH_LIMIT = 32

Schema = Mapping[str, object]


class SchemaError(ValueError):
    """The schema does not compile; the text is what the shard raises."""


def compile_error(schema: object) -> str | None:
    """Return what the shard raises for the schema, or None when it compiles."""
    try:
        example(schema, "")
    except SchemaError as error:
        return f"{PREFIX}{error}"
    return None


def example(schema: object, text: str) -> object:
    """Return a value that the schema allows, with `text` in its strings.

    Raises SchemaError where the compiler of LoRAX would fail.
    """
    if not isinstance(schema, Mapping):
        raise SchemaError(f"Could not translate the instance {schema!r} to a regular expression.")
    return _value(schema, schema, text, 0)


def _value(schema: Schema, root: Schema, text: str, depth: int) -> object:
    if depth > _DEPTH_LIMIT:
        raise SchemaError("maximum recursion depth exceeded")
    if "$ref" in schema:
        return _value(_target(str(schema["$ref"]), root), root, text, depth + 1)
    if "const" in schema or "enum" in schema:
        return _scalar(schema)
    for union in ("oneOf", "anyOf", "allOf"):
        members = _schemas(schema.get(union))
        if members:
            values = [_value(member, root, text, depth + 1) for member in members]  # every member is compiled
            return values[0]
    if "not" in schema or (schema and not any(key in schema for key in _KNOWN)):
        raise SchemaError(
            f"Could not translate the instance {dict(schema)!r} to a regular expression. "
            "Make sure it is valid to the JSON Schema specification."
        )
    return _typed(schema, root, text, depth)


def _target(reference: str, root: Schema) -> Schema:
    target: object = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            target = target.get(step) if isinstance(target, Mapping) else None
    if not isinstance(target, Mapping):
        raise SchemaError(f"PointerToNowhere: '{reference.removeprefix('#')}' does not exist within {dict(root)!r}")
    return target


def _scalar(schema: Schema) -> object:
    allowed = schema.get("enum", [schema.get("const")])
    choices = allowed if isinstance(allowed, list) else [allowed]
    for choice in choices:
        if isinstance(choice, (dict, list)):
            raise SchemaError(f"Unsupported data type in enum: {type(choice)}")
    return choices[0] if choices else None


def _typed(schema: Schema, root: Schema, text: str, depth: int) -> object:
    kinds = schema.get("type", "array" if "items" in schema or "prefixItems" in schema else "object")
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    if kind not in _TYPES:
        raise SchemaError(f"Could not translate the instance {dict(schema)!r} to a regular expression.")
    if kind == "object":
        properties = schema.get("properties")
        named = properties if isinstance(properties, Mapping) else {}
        return {name: _value(_as_schema(member), root, text, depth + 1) for name, member in named.items()}
    if kind == "array":
        items = schema.get("items")
        return [] if items is None else [_value(_as_schema(items), root, text, depth + 1)]
    if kind == "string":
        return _string(schema, text)
    return {"integer": 1, "number": 0.5, "boolean": True, "null": None}[str(kind)]


def _string(schema: Schema, text: str) -> str:
    form = schema.get("format")
    if form is None:
        return text
    if form not in _FORMATS:
        raise SchemaError(f"Format {form} is not supported by Outlines")
    return {
        "date": "2024-01-01",
        "time": "12:00:00Z",
        "date-time": "2024-01-01T12:00:00Z",
        "uuid": "00000000-0000-4000-8000-000000000000",
    }[str(form)]


def _as_schema(member: object) -> Schema:
    if not isinstance(member, Mapping):
        raise SchemaError(f"Could not translate the instance {member!r} to a regular expression.")
    return member


def _schemas(members: object) -> list[Schema]:
    return [_as_schema(member) for member in members] if isinstance(members, list) else []
