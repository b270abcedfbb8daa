"""Which JSON schemas the structured-output compiler takes."""

import pytest
from lorax_simulator.schemas import compile_error, example

RECURSIVE = {"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": "text"}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, 1),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 3}, 3),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": ["string", "null"]}, "text"),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "string", "format": "date"}, "2024-01-01"),
        ({"type": "integer", "minimum": 5}, 1),
        ({"patternProperties": {"^x": {"type": "string"}}}, {}),
    ],
)
def test_these_compile(schema, value):
    assert compile_error(schema) is None
    assert example(schema, "text") == value


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "decimal"}, "Could not translate the instance"),
        ({"title": "nothing"}, "Could not translate the instance"),
        ({"not": {"type": "string"}}, "Could not translate the instance"),
        ("string", "Could not translate the instance"),
        ({"$ref": "#/$defs/absent"}, "does not exist within"),
        (RECURSIVE, "maximum recursion depth"),
        ({"type": "string", "format": "email"}, "is not supported by Outlines"),
        ({"enum": [{"a": 1}]}, "Unsupported data type in"),
    ],
)
def test_these_fail(schema, text):
    assert text in (compile_error(schema) or "")
