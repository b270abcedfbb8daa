"""What is sent for a valid row."""

import json

import pytest
from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE
from lorax_batch_scheduler.ingest.limits import MAX_EMBEDDING_INPUTS, IngestLimits

from tests.unit.ingest.lines_of import MESSAGES, MINIMAL, chat, read, sent, valid

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": ["a", "b", "c", "d"]}, {"stop": ["a", "b", "c", "d"]}),
        ({"stop": []}, {}),
        ({"stop": None, "seed": None, "anything": None}, {}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 3}, {"temperature": 0.0}),
        ({"temperature": 1, "top_p": 1, "top_k": 3}, {"temperature": 1.0, "top_p": 1.0, "top_k": 3}),
        ({"top_k": 3.0, "seed": 2**64 - 1}, {"top_k": 3, "seed": 2**64 - 1}),
        ({"presence_penalty": -2, "frequency_penalty": 2}, {"presence_penalty": -2.0, "frequency_penalty": 2.0}),
        ({"repetition_penalty": 1.1, "ignore_eos_token": True}, {"repetition_penalty": 1.1, "ignore_eos_token": True}),
        ({"n": 1}, {}),
        ({"n": 2}, {"n": 2}),
        ({"stream": False, "stream_options": {"include_usage": True}}, {}),
        ({"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto"}, {}),
        ({"logprobs": False, "top_logprobs": 0, "logit_bias": {}, "parallel_tool_calls": True}, {}),
        ({"modalities": ["text"], "prediction": {"type": "content", "content": "x"}}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"response_format": FORMAT}, {"response_format": FORMAT}),
        ({"tools": [], "tool_choice": "auto"}, {}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": "none"}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "f"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tools": [TOOL], "tool_choice": "f"},
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "response_format": {"type": "text"}}, {"tools": [TOOL]}),
        ({"guideline": "g", "tool_prompt": "t"}, {"guideline": "g", "tool_prompt": "t"}),
    ],
)
def test_the_fields_of_a_chat_are_sent_as_lorax_wants_them(given, expected):
    assert sent(valid(chat(**given))) == {"model": "", "max_tokens": 99, "messages": MESSAGES} | expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "x", "name": "bob"}, {"role": "user", "content": "x"}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": None}),
        ({"role": "assistant", "content": "x", "tool_calls": None}, {"role": "assistant", "content": "x"}),
        ({"role": "assistant", "content": "x", "tool_calls": [], "refusal": ""}, {"role": "assistant", "content": "x"}),
        (
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x", "detail": "low"}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]},
        ),
    ],
)
def test_messages_keep_what_reaches_the_prompt(message, expected):
    assert sent(valid(chat(messages=[message])))["messages"] == [expected]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_either_name_limits_the_output_of_a_chat(name):
    row = valid(chat(**{name: 7}))
    assert row.max_tokens == 7
    assert sent(row)["max_tokens"] == 7


def test_both_names_may_say_the_same():
    assert valid(chat(max_tokens=7, max_completion_tokens=7.0)).max_tokens == 7


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"prompt": ["Once"]}, {}),
        ({"n": 1, "best_of": 1, "suffix": "", "logprobs": None, "echo": True}, {"echo": True}),
        ({"best_of": 2, "temperature": 0.5}, {"best_of": 2, "temperature": 0.5}),
        ({"stop": "x", "user": "u"}, {"stop": ["x"]}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0.0}),
    ],
)
def test_the_fields_of_a_completion(given, expected):
    row = valid(MINIMAL[COMPLETIONS] | given, COMPLETIONS)
    assert sent(row) == {"model": "", "max_tokens": 99, "prompt": "Once"} | expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Once", "Once"),
        (["Once"], "Once"),
        (["Once", "twice"], ["Once", "twice"]),
        (["x"] * MAX_EMBEDDING_INPUTS, ["x"] * MAX_EMBEDDING_INPUTS),
    ],
)
def test_the_input_of_an_embedding(given, expected):
    row = valid({"model": "m", "input": given, "encoding_format": "float", "user": "u"}, EMBEDDINGS)
    assert sent(row) == {"model": "m", "input": expected}
    assert row.max_tokens == 0


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"adapter_id": "org/a"},
        {"adapter_id": "org/a", "adapter_source": "s3", "max_new_tokens": 3},
        {"max_new_tokens": 3, "do_sample": True, "details": True, "typical_p": 0.5, "truncate": 5},
        {"merged_adapters": {"ids": ["a", "b"], "weights": [0.5, 0.5], "merge_strategy": "ties", "density": 0.5}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}, "stop": ["a"], "best_of": 2, "top_p": 0.5},
    ],
)
def test_a_generate_request_is_sent_as_it_came(parameters):
    row = valid({"inputs": "Once", "parameters": parameters, "stream": False}, GENERATE)
    assert sent(row, 99) == {"inputs": "Once", "parameters": {"max_new_tokens": 99} | parameters}
    assert row.key == (GENERATE, parameters.get("adapter_id", ""), parameters.get("adapter_source", ""))


def test_the_adapter_and_its_source_name_the_group():
    row = valid(chat(model="org/a", adapter_source="hub"))
    assert row.key == (CHAT, "org/a", "hub")
    assert sent(row)["adapter_source"] == "hub"


@pytest.mark.parametrize(
    ("body", "url", "tokens"),
    [
        (chat(messages=[{"role": "user", "content": "x" * 40}, {"role": "user", "content": None}]), CHAT, 10),
        (chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x" * 40}]}]), CHAT, 10),
        (chat(messages=[{"role": "user", "content": ""}]), CHAT, 1),
        ({"model": "", "prompt": "x" * 43}, COMPLETIONS, 10),
        ({"model": "", "input": ["x" * 40, "x" * 40]}, EMBEDDINGS, 20),
        ({"inputs": "x" * 400, "parameters": {"truncate": 30}}, GENERATE, 30),
    ],
)
def test_prompt_tokens_are_a_quarter_of_the_characters(body, url, tokens):
    assert valid(body, url).prompt_tokens == tokens


def test_a_schema_hash_is_the_same_for_the_same_schema_however_it_is_written():
    one = valid(chat(response_format=FORMAT)).schema_hash
    spaced = b'{"custom_id": "a", "method": "POST", "url": "%s", "body": %s}' % (
        CHAT.encode(),
        json.dumps(chat(response_format=FORMAT), indent=3).replace("\n", " ").encode(),
    )
    again = read(spaced)
    assert one == getattr(again, "schema_hash", None) == 6533968830711853422
    assert valid(chat(tools=[TOOL])).schema_hash not in (0, one)
    assert valid(chat()).schema_hash == 0


def test_crlf_and_spaces_around_a_row_do_not_matter():
    line = b'  {"custom_id":"a","method":"POST","url":"/generate","body":{"inputs":"x"}} \r'
    assert read(line) == valid({"inputs": "x"}, GENERATE)


def test_a_blank_line_is_nothing():
    assert [read(line) for line in (b"", b"\r", b" \t ")] == [None, None, None]


@pytest.mark.parametrize("limit", [1, 7])
def test_max_tokens_may_be_as_large_as_the_limit(limit):
    limits = IngestLimits(max_tokens=limit)
    assert valid(chat(max_tokens=limit), limits=limits).max_tokens == limit
