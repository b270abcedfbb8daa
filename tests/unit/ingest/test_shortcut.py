"""The short cut for common rows does what the tables of rules do, for any row."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, ENDPOINTS, GENERATE
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.line import BadLine, LineReader
from lorax_batch_scheduler.ingest.request import Row

from tests.unit.ingest.lines_of import MINIMAL, sent
from tests.unit.ingest.test_normalising import FORMAT, TOOL

LIMITS = IngestLimits(max_tokens=1_000)
text = st.text(st.characters(codec="utf-8"), max_size=20)
scalar = st.one_of(st.none(), st.booleans(), st.integers(-5, 2_000), st.floats(allow_nan=False), text)
anything = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
part = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": text}),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": text})}),
)
message = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "system", ""]),
        "content": st.one_of(text, st.none(), st.lists(part, max_size=3)),
    },
    optional={"name": text, "tool_calls": st.just([])},
)
number = st.one_of(st.integers(-3, 3), st.floats(-3, 3), st.none())
sampling = {
    "temperature": number,
    "top_p": number,
    "top_k": st.integers(-1, 5) | st.just(2.0),
    "stop": st.one_of(text, st.lists(text, max_size=5), st.none()),
    "seed": st.integers(-1, 2**64),
    "presence_penalty": number,
    "frequency_penalty": number,
    "repetition_penalty": number,
    "ignore_eos_token": st.booleans() | st.none(),
    "max_tokens": st.integers(-1, 1_001) | st.none(),
    "adapter_source": st.sampled_from(["hub", "s3", "ftp", None]),
    "stream": st.booleans() | st.none(),
    "user": scalar,
    "odd": anything,
}
bodies: dict[str, st.SearchStrategy[Any]] = {
    CHAT: st.fixed_dictionaries(
        {"messages": st.lists(message, max_size=3)},
        optional=sampling
        | {
            "model": text,
            "n": st.integers(0, 3),
            "max_completion_tokens": st.integers(1, 3),
            "metadata": anything,
            "tools": st.sampled_from([[TOOL], [], None, "x"]),
            "response_format": st.sampled_from([FORMAT, {"type": "text"}, None, {}]),
        },
    ),
    COMPLETIONS: st.fixed_dictionaries(
        {"prompt": text}, optional=sampling | {"model": text, "echo": st.booleans(), "best_of": st.integers(0, 3)}
    ),
}


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """Draw a line that is a good row more often than not."""
    url = draw(st.sampled_from([CHAT, COMPLETIONS]))
    body: dict[str, object] = draw(bodies[url])
    kept = draw(st.sets(st.sampled_from(sorted(body)))) if draw(st.booleans()) else set(body)
    body = {name: value for name, value in body.items() if name in kept}
    if draw(st.integers(0, 3)):
        body = {"model": "m"} | MINIMAL[url] | body
    row = {"custom_id": draw(text), "method": "POST", "url": url, "body": body}
    return json.dumps(row, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")


def check(line: bytes) -> None:
    """Read a line both ways and compare."""
    reader = LineReader(LIMITS)
    slow = reader.examine(line)
    for _ in range(2):
        fast = reader.read(line)
        assert type(fast) is type(slow)
        if isinstance(fast, Row):
            assert fast == slow
        elif isinstance(fast, BadLine) and isinstance(slow, BadLine):
            assert (fast.error.code, fast.error.param) == (slow.error.code, slow.error.param)
            assert fast.custom_id == slow.custom_id


@given(rows())
def test_both_ways_agree(line):
    check(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_row_or_a_bad_line_or_blank(line):
    check(line)


@given(anything, st.sampled_from(ENDPOINTS))
def test_any_body_is_a_row_or_a_bad_line(body, url):
    check(json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": body}).encode("utf-8", "replace"))


@given(st.dictionaries(st.sampled_from(["inputs", "parameters", "prompt", "input", "model"]), anything), anything)
def test_any_fields_are_a_row_or_a_bad_line(fields, value):
    for url, body in MINIMAL.items():
        check(json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": body | fields}).encode())
    parameters = fields | {"stop": value, "merged_adapters": value}
    generate = {"inputs": "x", "parameters": parameters}
    check(json.dumps({"custom_id": "a", "method": "POST", "url": GENERATE, "body": generate}).encode())


@given(rows())
def test_head_and_tail_make_the_body_that_was_meant(line):
    row = LineReader(LIMITS).read(line)
    if not isinstance(row, Row):
        return
    body = sent(row)
    given_body = json.loads(line)["body"]
    assert body["model"] == given_body["model"]
    assert body.get("messages", body.get("prompt"))
    assert body["max_tokens"] == (given_body.get("max_tokens") or given_body.get("max_completion_tokens") or 99)
    for name in ("seed", "top_k", "presence_penalty", "repetition_penalty"):
        if given_body.get(name) is not None and given_body.get("temperature") != 0:
            assert body[name] == given_body[name]
    assert None not in body.values()
    assert row.custom_id == msgspec.json.encode(json.loads(line)["custom_id"])
    assert row.prompt_tokens >= 1
