"""Which JSON schemas LoRAX can compile."""

import pytest
from lorax_batch_scheduler.ingest.fault import InvalidRowError
from lorax_batch_scheduler.ingest.json_schema import check_schema
from lorax_batch_scheduler.ingest.limits import MAX_SCHEMA_DEPTH

STRING = {"type": "string"}


def nested(levels: int) -> dict[str, object]:
    """Return arrays in arrays."""
    schema: dict[str, object] = STRING  # type: ignore[assignment]
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def doubling(levels: int) -> dict[str, object]:
    """Return a small schema that refers twice to the next, level by level."""
    definitions: dict[str, object] = {"d0": STRING}
    for level in range(levels):
        reference = {"$ref": f"#/$defs/d{level}"}
        definitions[f"d{level + 1}"] = {"properties": {"a": reference, "b": reference}}
    return {"$ref": f"#/$defs/d{levels}", "$defs": definitions}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": STRING},
        {"type": "object", "additionalProperties": False, "maxProperties": 0},
        {"properties": {"a": STRING, "b": {}}, "required": ["a"], "additionalProperties": False},
        {"type": ["string", "null"]},
        {"type": "array", "items": STRING, "minItems": 1, "maxItems": 3},
        {"type": "array"},
        {"prefixItems": [STRING, {"type": "integer"}]},
        {"enum": [1, "a", None, True, 1.5]},
        {"const": None},
        {"anyOf": [STRING, {"type": "null"}]},
        {"oneOf": [STRING]},
        {"allOf": [STRING]},
        {"type": "number", "minimum": 0, "maxDigitsInteger": 3},
        *({"type": "string", "format": name} for name in ("date", "time", "date-time", "uuid")),
        {"type": "string", "format": "email", "maxLength": 5},
        {"type": "string", "pattern": "a+"},
        {"$ref": "#/$defs/a", "$defs": {"a": STRING}},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": STRING}},
        {"properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}}, "$defs": {"x": STRING}},
        {"additionalProperties": {"type": ["object", "string"]}, "title": "T", "type": "object"},
        doubling(10),
        nested(MAX_SCHEMA_DEPTH - 1),
        nested(MAX_SCHEMA_DEPTH),
    ],
)
def test_a_schema_that_compiles_is_accepted(schema):
    check_schema(schema, "s")


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        (True, "s"),
        ([], "s"),
        ({"title": "x"}, "s"),
        ({"type": "strin"}, "s.type"),
        ({"type": []}, "s.type"),
        ({"type": ["string", 5]}, "s.type"),
        ({"type": None}, "s.type"),
        ({"type": "string", "format": "email"}, "s.format"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "s.maxLength"),
        ({"type": "string", "maxLength": "5"}, "s.maxLength"),
        ({"type": "string", "minLength": -1}, "s.minLength"),
        ({"type": "string", "pattern": ""}, "s.pattern"),
        ({"type": "integer", "minDigits": 1.5}, "s.minDigits"),
        ({"type": "array", "items": [STRING]}, "s.items"),
        ({"type": "array", "items": True}, "s.items"),
        ({"type": "array", "minItems": 3, "maxItems": 1}, "s.maxItems"),
        ({"type": "object", "additionalProperties": False}, "s.additionalProperties"),
        ({"properties": []}, "s.properties"),
        ({"properties": {"a": True}}, "s.properties.a"),
        ({"properties": {"a": STRING}, "required": "a"}, "s.required"),
        ({"properties": {"a": {"description": "x"}}}, "s.properties.a"),
        ({"enum": "x"}, "s.enum"),
        ({"enum": []}, "s.enum"),
        ({"enum": [1, {}]}, "s.enum[1]"),
        ({"const": [1]}, "s.const"),
        ({"anyOf": []}, "s.anyOf"),
        ({"anyOf": {}}, "s.anyOf"),
        ({"anyOf": [STRING, {"not": {}}]}, "s.anyOf[1].not"),
        ({"type": "string", "not": {"const": "a"}}, "s.not"),
        ({"$ref": "#/$defs/b", "$defs": {"a": STRING}}, "s.$ref"),
        ({"$ref": "#"}, "s.$ref"),
        ({"$ref": 5}, "s.$ref"),
        ({"$ref": "https://example.com/schema"}, "s.$ref"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}},
            "s.$defs.a.properties.b.$ref",
        ),
        (doubling(16), "s"),
        (nested(MAX_SCHEMA_DEPTH + 1), "s"),
    ],
)
def test_a_schema_that_would_fail_a_batch_is_refused_where_it_fails(schema, param):
    with pytest.raises(InvalidRowError) as raised:
        check_schema(schema, "s")
    assert raised.value.param == param
    assert raised.value.code == "invalid_json_schema"


def test_a_reference_to_an_item_of_thousands_of_digits_does_not_exist():
    schema = {"prefixItems": [{"$ref": "#/prefixItems/" + "0" * 5_000}]}
    with pytest.raises(InvalidRowError, match="does not exist"):
        check_schema(schema, "schema")
