"""Every limit of a row and of a dataset: what is at it is accepted, what is above is refused with value and limit."""

from typing import Any, NamedTuple

import pytest
from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE
from lorax_batch_scheduler.ingest import generate, json_schema, limits, rules
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.line import BadLine, LineReader
from lorax_batch_scheduler.ingest.request import Row

from tests.unit.ingest.lines_of import MINIMAL, Run, chat, chat_line, line_of

LIMITS = IngestLimits(max_tokens=5_000)


class Limit(NamedTuple):
    """A limit of a field, and the field with a value of that size. Counted: its message names sizes, not the value."""

    url: str
    value: float
    code: str
    field: Any
    step: float = 1


def in_parameters(**fields: object) -> dict[str, object]:
    return {"parameters": fields}


def merged(count: int) -> dict[str, object]:
    return in_parameters(merged_adapters={"ids": ["a"] * count, "weights": [1] * count, "density": 0.5})


def nested(levels: int) -> object:
    schema: object = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def asks_for(schema: object) -> dict[str, object]:
    return {"response_format": {"type": "json_object", "schema": schema}}


ROW_LIMITS = {
    "MAX_MODEL_CHARACTERS": Limit(CHAT, limits.MAX_MODEL_CHARACTERS, "invalid_value", lambda n: {"model": "m" * n}),
    "MAX_MODEL_CHARACTERS of adapter_id": Limit(
        GENERATE, limits.MAX_MODEL_CHARACTERS, "invalid_value", lambda n: in_parameters(adapter_id="m" * n)
    ),
    "MAX_STOP_SEQUENCES": Limit(CHAT, limits.MAX_STOP_SEQUENCES, "invalid_value", lambda n: {"stop": ["s"] * n}),
    "MAX_STOP_SEQUENCES of generate": Limit(
        GENERATE, limits.MAX_STOP_SEQUENCES, "invalid_value", lambda n: in_parameters(stop=["s"] * n)
    ),
    "MAX_EMBEDDING_INPUTS": Limit(
        EMBEDDINGS, limits.MAX_EMBEDDING_INPUTS, "invalid_value", lambda n: {"input": ["s"] * n}
    ),
    "MAX_SCHEMA_DEPTH": Limit(CHAT, limits.MAX_SCHEMA_DEPTH, "invalid_json_schema", lambda n: asks_for(nested(n))),
    "_MAX_VISITS": Limit(
        CHAT,
        json_schema._MAX_VISITS,
        "invalid_json_schema",
        lambda n: asks_for({"anyOf": [{"type": "null"}] * (n - 1)}),
    ),
    "max_tokens": Limit(CHAT, LIMITS.max_tokens, "max_tokens_too_large", lambda n: {"max_tokens": n}),
    "max_completion_tokens": Limit(
        CHAT, LIMITS.max_tokens, "max_tokens_too_large", lambda n: {"max_completion_tokens": n}
    ),
    "max_tokens of completions": Limit(
        COMPLETIONS, LIMITS.max_tokens, "max_tokens_too_large", lambda n: {"max_tokens": n}
    ),
    "max_new_tokens": Limit(
        GENERATE, LIMITS.max_tokens, "max_tokens_too_large", lambda n: in_parameters(max_new_tokens=n)
    ),
    "MAX_SEED": Limit(CHAT, rules.MAX_SEED, "invalid_value", lambda n: {"seed": n}),
    "MAX_INT32": Limit(CHAT, rules.MAX_INT32, "invalid_value", lambda n: {"top_k": n}),
    "MAX_INT32 of truncate": Limit(GENERATE, rules.MAX_INT32, "invalid_value", lambda n: in_parameters(truncate=n)),
    "MAX_FLOAT": Limit(CHAT, rules.MAX_FLOAT, "invalid_value", lambda n: {"temperature": n}, 1e32),
    "penalty": Limit(CHAT, 2, "invalid_value", lambda n: {"presence_penalty": n}, 0.001),
    "top_p": Limit(CHAT, 1, "invalid_value", lambda n: {"top_p": n}, 0.001),
    "n": Limit(CHAT, 2, "invalid_value", lambda n: {"n": n, "temperature": 1}),
    "_MAX_MERGED": Limit(GENERATE, generate._MAX_MERGED, "invalid_value", merged),
}


@pytest.mark.parametrize("name", ROW_LIMITS)
def test_a_row_may_go_up_to_its_limits_and_no_further(name):
    limit = ROW_LIMITS[name]
    reader = LineReader(LIMITS)
    for value in (limit.value - limit.step, limit.value):
        row = reader.read(line_of(MINIMAL[limit.url] | limit.field(value), limit.url))
        assert isinstance(row, Row), row
    bad = reader.read(line_of(MINIMAL[limit.url] | limit.field(limit.value + limit.step), limit.url))
    assert isinstance(bad, BadLine)
    assert bad.error.code == limit.code
    assert f"{limit.value:g}" in bad.error.message or str(limit.value) in bad.error.message


def test_a_custom_id_has_1_to_512_characters(tmp_path):
    ids = ["", "i", "ä" * 511, "\U0001f600" * limits.MAX_CUSTOM_ID_CHARACTERS, "x" * 513]
    run = Run(tmp_path, b"".join(chat_line(custom_id) for custom_id in ids))
    assert run.valid_lines == [2, 3, 4]
    assert [told.code for told in run.told] == ["invalid_custom_id"] * 2
    assert "has 513 characters, but must have 1 to 512" in run.told[1].message


def test_a_schema_repeated_at_the_limits_of_a_line_is_measured_as_it_is_sent(tmp_path):
    line = line_of(chat(**asks_for({"enum": ["x" * 600]}))) + b"\n"
    at = Run(tmp_path, line, limits=IngestLimits(max_line_bytes=len(line) - 1))
    assert at.valid_lines == [1]
