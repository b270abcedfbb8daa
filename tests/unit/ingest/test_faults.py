"""What is wrong with a bad row, and where."""

import gc
import json

import pytest
from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.line import BadLine, LineReader, find_custom_id

from tests.unit.ingest.lines_of import MESSAGES, MINIMAL, chat, fault, line_of, read
from tests.unit.ingest.test_normalising import FORMAT, TOOL


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{", "invalid_json_line", ""),
        (b"[]", "invalid_json_line", ""),
        (b"null", "invalid_json_line", ""),
        (b'{"a":1} x', "invalid_json_line", ""),
        (b'{"custom_id":"\\ud800"}', "invalid_json_line", ""),
        pytest.param(b"[" * 100_000, "invalid_json_line", "", id="nested"),
        (b'{"custom_id":"\xff"}', "invalid_utf8", ""),
        (b'{"ignored":"\xff",' + line_of(chat())[1:], "invalid_utf8", ""),
        ('{"custom_id":"a"}'.encode("utf-16"), "invalid_utf8", ""),
        (b"{}", "missing_required_parameter", "custom_id"),
        (line_of(chat(), custom_id=5), "invalid_type", "custom_id"),
        (line_of(chat(), custom_id=""), "invalid_custom_id", "custom_id"),
        pytest.param(line_of(chat(), custom_id="x" * 513), "invalid_custom_id", "custom_id", id="long id"),
        (line_of(chat(), method=None), "missing_required_parameter", "method"),
        (line_of(chat(), method="GET"), "invalid_method", "method"),
        (line_of(chat(), None), "missing_required_parameter", "url"),
        (line_of(chat(), "/v1/chat"), "invalid_url", "url"),
        (line_of(chat(), 5), "invalid_url", "url"),
        (line_of(None), "missing_required_parameter", "body"),
        (line_of([]), "invalid_type", "body"),
        (line_of(chat(), extra=1), "unknown_parameter", "extra"),
    ],
)
def test_a_bad_line(line, code, param):
    assert fault(line) == (code, param)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "body.model"),
        ({"model": 5}, "invalid_type", "body.model"),
        ({"model": "a\nb"}, "invalid_value", "body.model"),
        ({"model": "x" * 1_025}, "invalid_value", "body.model"),
        ({"messages": None}, "missing_required_parameter", "body.messages"),
        ({"messages": []}, "invalid_value", "body.messages"),
        ({"messages": "x"}, "invalid_type", "body.messages"),
        ({"messages": ["x"]}, "invalid_type", "body.messages[0]"),
        ({"messages": [*MESSAGES, {"content": "x"}]}, "missing_required_parameter", "body.messages[1].role"),
        ({"messages": [{"role": "", "content": "x"}]}, "invalid_value", "body.messages[0].role"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "body.messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "invalid_type", "body.messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "invalid_type", "body.messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "unsupported_value",
            "body.messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "missing_required_parameter",
            "body.messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "invalid_type",
            "body.messages[0].content[0].image_url",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
            "unsupported_parameter",
            "body.messages[0].tool_calls",
        ),
        (
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]},
            "unsupported_parameter",
            "body.messages[0].tool_call_id",
        ),
        ({"messages": [{"role": "user", "content": "x", "z": 1}]}, "unknown_parameter", "body.messages[0].z"),
        ({"max_tokens": 0}, "invalid_value", "body.max_tokens"),
        ({"max_tokens": -1}, "invalid_value", "body.max_tokens"),
        ({"max_tokens": 1.5}, "invalid_type", "body.max_tokens"),
        ({"max_tokens": True}, "invalid_type", "body.max_tokens"),
        ({"max_tokens": 2**20 + 1}, "max_tokens_too_large", "body.max_tokens"),
        ({"max_completion_tokens": 2**20 + 1}, "max_tokens_too_large", "body.max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "invalid_request", "body.max_tokens"),
        ({"temperature": -0.1}, "invalid_value", "body.temperature"),
        ({"temperature": "hot"}, "invalid_type", "body.temperature"),
        ({"temperature": 1e39}, "invalid_value", "body.temperature"),
        ({"top_p": 0}, "invalid_value", "body.top_p"),
        ({"top_p": 1.01}, "invalid_value", "body.top_p"),
        ({"top_k": 0}, "invalid_value", "body.top_k"),
        ({"n": 3}, "invalid_value", "body.n"),
        ({"n": 2, "seed": 1}, "invalid_request", "body.n"),
        ({"n": 2, "temperature": 0}, "invalid_request", "body.n"),
        ({"stop": ["a"] * 5}, "invalid_value", "body.stop"),
        ({"stop": ["a", ""]}, "invalid_value", "body.stop[1]"),
        ({"stop": ""}, "invalid_value", "body.stop[0]"),
        ({"stop": 5}, "invalid_type", "body.stop"),
        ({"seed": -1}, "invalid_value", "body.seed"),
        ({"seed": 2**64}, "invalid_value", "body.seed"),
        ({"presence_penalty": 2.1}, "invalid_value", "body.presence_penalty"),
        ({"frequency_penalty": -2.1}, "invalid_value", "body.frequency_penalty"),
        ({"repetition_penalty": 0}, "invalid_value", "body.repetition_penalty"),
        ({"ignore_eos_token": 1}, "invalid_type", "body.ignore_eos_token"),
        ({"stream": True}, "streaming_unsupported", "body.stream"),
        ({"stream": 1}, "invalid_type", "body.stream"),
        ({"logprobs": True}, "unsupported_parameter", "body.logprobs"),
        ({"top_logprobs": 3}, "unsupported_parameter", "body.top_logprobs"),
        ({"logit_bias": {"5": 1}}, "unsupported_parameter", "body.logit_bias"),
        ({"best_of": 2}, "unsupported_parameter", "body.best_of"),
        ({"functions": [{}]}, "unsupported_parameter", "body.functions"),
        ({"reasoning_effort": "low"}, "unsupported_parameter", "body.reasoning_effort"),
        ({"api_token": "s"}, "unsupported_parameter", "body.api_token"),
        ({"adapter_id": "x"}, "unknown_parameter", "body.adapter_id"),
        ({"adapter_source": "ftp"}, "invalid_value", "body.adapter_source"),
        ({"tools": {}}, "invalid_type", "body.tools"),
        ({"tools": [{"type": "search", "function": {}}]}, "invalid_value", "body.tools[0].type"),
        ({"tools": [TOOL, TOOL]}, "invalid_value", "body.tools"),
        ({"tools": [TOOL], "response_format": FORMAT}, "invalid_request", "body.tools"),
        ({"tool_choice": "f"}, "invalid_value", "body.tool_choice"),
        ({"tool_choice": "required"}, "unsupported_value", "body.tool_choice"),
        ({"tools": [TOOL], "tool_choice": "g"}, "invalid_value", "body.tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "invalid_value", "body.tool_choice"),
        ({"response_format": "json"}, "invalid_type", "body.response_format"),
        ({"response_format": {}}, "missing_required_parameter", "body.response_format.type"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "body.response_format.type"),
        (
            {"response_format": {"type": "json_schema"}},
            "missing_required_parameter",
            "body.response_format.json_schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}}},
            "invalid_json_schema",
            "body.response_format.json_schema.schema.not",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "strin"}}}]},
            "invalid_json_schema",
            "body.tools[0].function.parameters.type",
        ),
    ],
)
def test_a_bad_chat(fields, code, param):
    assert fault(line_of(chat(**fields))) == (code, param)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": None}, "missing_required_parameter", "body.prompt"),
        ({"prompt": ""}, "invalid_value", "body.prompt"),
        ({"prompt": ["a", "b"]}, "unsupported_value", "body.prompt"),
        ({"prompt": [1, 2]}, "unsupported_value", "body.prompt"),
        ({"logprobs": 1}, "unsupported_parameter", "body.logprobs"),
        ({"suffix": "x"}, "unsupported_parameter", "body.suffix"),
        ({"n": 2}, "unsupported_parameter", "body.n"),
        ({"best_of": 2}, "invalid_request", "body.best_of"),
        ({"best_of": 2, "temperature": 1, "seed": 1}, "invalid_request", "body.best_of"),
        ({"response_format": FORMAT}, "unsupported_parameter", "body.response_format"),
        ({"messages": MESSAGES}, "unknown_parameter", "body.messages"),
        ({"max_tokens": 2**20 + 1}, "max_tokens_too_large", "body.max_tokens"),
        ({"stream": True}, "streaming_unsupported", "body.stream"),
    ],
)
def test_a_bad_completion(fields, code, param):
    assert fault(line_of(MINIMAL[COMPLETIONS] | fields, COMPLETIONS)) == (code, param)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": None}, "missing_required_parameter", "body.input"),
        ({"input": ""}, "invalid_value", "body.input"),
        ({"input": []}, "invalid_value", "body.input"),
        ({"input": ["x"] * 2_049}, "invalid_value", "body.input"),
        ({"input": [1, 2]}, "unsupported_value", "body.input"),
        ({"input": ["x", 5]}, "invalid_type", "body.input[1]"),
        ({"encoding_format": "base64"}, "unsupported_parameter", "body.encoding_format"),
        ({"dimensions": 5}, "unsupported_parameter", "body.dimensions"),
        ({"max_tokens": 5}, "unknown_parameter", "body.max_tokens"),
    ],
)
def test_a_bad_embedding(fields, code, param):
    assert fault(line_of(MINIMAL[EMBEDDINGS] | fields, EMBEDDINGS)) == (code, param)


MERGED = {"ids": ["a", "b"], "weights": [0.5, 0.5], "density": 0.5}


@pytest.mark.parametrize(
    ("parameters", "code", "param"),
    [
        ([], "invalid_type", ""),
        ({"model": "x"}, "unknown_parameter", ".model"),
        ({"adapter_id": "a\tb"}, "invalid_value", ".adapter_id"),
        ({"max_new_tokens": 0}, "invalid_value", ".max_new_tokens"),
        ({"max_new_tokens": 2**20 + 1}, "max_tokens_too_large", ".max_new_tokens"),
        ({"temperature": 0}, "invalid_value", ".temperature"),
        ({"typical_p": 0}, "invalid_value", ".typical_p"),
        ({"truncate": 0}, "invalid_value", ".truncate"),
        ({"best_of": 2}, "invalid_request", ".best_of"),
        ({"api_token": "s"}, "unsupported_parameter", ".api_token"),
        ({"merged_adapters": MERGED, "adapter_id": "a"}, "invalid_request", ".merged_adapters"),
        ({"merged_adapters": MERGED | {"merge_strategy": "x"}}, "invalid_value", ".merged_adapters.merge_strategy"),
        (
            {"merged_adapters": MERGED | {"majority_sign_method": "x"}},
            "invalid_value",
            ".merged_adapters.majority_sign_method",
        ),
        ({"merged_adapters": MERGED | {"weights": [1]}}, "invalid_value", ".merged_adapters.ids"),
        ({"merged_adapters": MERGED | {"density": 1.1}}, "invalid_value", ".merged_adapters.density"),
        ({"merged_adapters": MERGED | {"ids": ["a", "b\n"]}}, "invalid_value", ".merged_adapters.ids[1]"),
        ({"merged_adapters": {"ids": []}}, "missing_required_parameter", ".merged_adapters.weights"),
        ({"response_format": {"type": "regex"}}, "invalid_value", ".response_format.type"),
    ],
)
def test_a_bad_generate_request(parameters, code, param):
    line = line_of({"inputs": "x", "parameters": parameters}, GENERATE)
    assert fault(line) == (code, f"body.parameters{param}")


def test_the_custom_id_of_a_bad_line_is_told_where_it_can_be_read():
    lines = [
        line_of({}, custom_id="x-1"),
        line_of({}, custom_id="x-1")[:-5],
        b'\xff{"custom_id" : "x-1"',
        b'{"custom_id":"x\\u002d1"',
    ]
    assert [bad.custom_id for bad in map(read, lines) if isinstance(bad, BadLine)] == ["x-1"] * 4
    assert find_custom_id(b'{"custom_id": 5') is None
    assert find_custom_id(b'{"custom_id": "' + b"x" * 600 + b'"') is None
    assert find_custom_id(b'{"custom_id": "\\ud800"') is None


@pytest.mark.parametrize(("length", "good"), [(1, True), (511, True), (512, True), (513, False)])
def test_a_custom_id_has_up_to_512_characters(length, good):
    bad = read(line_of(chat(), custom_id="é" * length))
    assert isinstance(bad, BadLine) is not good


@pytest.mark.parametrize(("length", "good"), [(1_023, True), (1_024, True), (1_025, False)])
def test_a_model_has_up_to_1024_characters(length, good):
    assert isinstance(read(line_of(chat(model="m" * length))), BadLine) is not good


@pytest.mark.parametrize(("tokens", "good"), [(49, True), (50, True), (51, False)])
def test_max_tokens_has_a_limit(tokens, good):
    limits = IngestLimits(max_tokens=50)
    assert isinstance(read(line_of(chat(max_tokens=tokens)), limits), BadLine) is not good
    generate = line_of({"inputs": "x", "parameters": {"max_new_tokens": tokens}}, GENERATE)
    assert isinstance(read(generate, limits), BadLine) is not good


def test_messages_stay_short_and_free_of_control_characters():
    bad = read(line_of({"\0" * 5_000: 1, "model": "", "messages": MESSAGES}))
    assert isinstance(bad, BadLine)
    assert "\0" not in bad.error.message + bad.error.param
    assert len(bad.error.param) < 900
    bad = read(json.dumps({"custom_id": "a", "method": "x" * 5_000}).encode())
    assert isinstance(bad, BadLine)
    assert len(bad.error.message) < 200


def test_a_wrong_value_is_named_with_its_limit():
    bad = read(line_of(chat(temperature=-3)))
    assert isinstance(bad, BadLine)
    assert bad.error.message == "'body.temperature' is -3, but must be at least 0"
    assert CHAT in str(getattr(read(line_of(chat(), "/v1/x")), "error", ""))


@pytest.mark.parametrize("line", [b"x", b"\xff", b"[" * 5_000, line_of(chat(seed="x")), line_of(chat(stop=[""]))])
def test_a_bad_line_leaves_no_garbage_for_the_collector_which_is_off_while_a_dataset_comes_in(line):
    reader = LineReader(IngestLimits())
    reader.read(line)
    gc.collect()
    reader.read(line)
    assert gc.collect() == 0
