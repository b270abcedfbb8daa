"""The shape of `/v1/chat/completions`."""

import asyncio
import json
import time

import pytest

from tests.simulator.conftest import MODEL

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}},
}
OTHER = {"type": "function", "function": {"name": "other", "parameters": {}}}


async def test_an_answer_has_exactly_the_keys_of_lorax_and_no_nulls(simulate):
    simulator = await simulate()
    answer = await simulator.chat("what is row-17?", max_tokens=1000)
    body = answer.json
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(body) == ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"]
    assert (body["id"], body["object"], body["model"]) == ("null", "text_completion", MODEL)
    assert body["system_fingerprint"] == "0.1.0-native"
    assert abs(body["created"] - time.time()) < 60
    (choice,) = body["choices"]
    assert list(choice) == ["index", "message", "finish_reason"]
    assert list(choice["message"]) == ["role", "content"]
    usage = body["usage"]
    assert list(usage) == ["prompt_tokens", "total_tokens", "completion_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert "null" not in answer.text.replace('"id":"null"', "")


async def test_the_answer_names_the_base_model_also_when_an_adapter_answered(simulate):
    simulator = await simulate()
    answer = await simulator.chat(model="org/adapter")
    assert answer.json["model"] == MODEL
    assert answer.headers["x-adapter-id"] == "org/adapter"
    assert answer.headers["x-adapter-source"] == "hub"


@pytest.mark.parametrize("model", ["", MODEL])
async def test_the_empty_model_and_the_base_models_own_id_use_no_adapter(simulate, model):
    simulator = await simulate()
    answer = await simulator.chat(model=model)
    assert "x-adapter-id" not in answer.headers
    assert (await simulator.stats())["adapter_downloads"] == 0


async def test_the_headers_count_tokens_and_tell_times(simulate):
    simulator = await simulate("--time-scale", "0.01")
    answer = await simulator.chat("hello", max_tokens=200)
    headers, usage = answer.headers, answer.json["usage"]
    assert headers["x-prompt-tokens"] == str(usage["prompt_tokens"])
    assert headers["x-generated-tokens"] == str(usage["completion_tokens"])
    assert headers["x-total-tokens"] == str(usage["total_tokens"])
    assert headers["x-compute-type"] == "gpu+optimized"
    assert headers["x-model-id"] == MODEL
    assert headers["x-total-time"] == headers["x-compute-time"]
    expected = {
        *("x-validation-time", "x-queue-time", "x-inference-time", "x-time-per-token", "x-time-to-first-token"),
        *("x-time-per-output-token", "x-skipped-tokens", "x-compute-characters", "x-total-time"),
    }
    assert all(headers[name].isdecimal() for name in expected)
    assert int(headers["x-total-time"]) >= int(headers["x-inference-time"]) > 0


async def test_errors_carry_none_of_the_headers(simulate):
    simulator = await simulate()
    answer = await simulator.chat(max_tokens=0)
    assert answer.status == 422
    assert not [name for name in answer.headers if name.lower().startswith("x-")]


async def test_the_text_is_a_function_of_adapter_prompt_and_seed_and_echoes_the_prompts_end(simulate):
    simulator = await simulate()

    async def content(text="question row-1", **fields):
        answer = await simulator.chat(text, **fields)
        return answer.json["choices"][0]["message"]["content"]

    first = await content()
    assert first == await content()
    assert "question row-1" in first
    others = [await content("question row-2"), await content(model="org/a"), await content(seed=5)]
    assert len({first.split()[0], *(other.split()[0] for other in others)}) == 4


async def test_output_length_follows_max_tokens_and_the_finish_reason_tells_which_end_came(simulate):
    simulator = await simulate()
    answers = await asyncio.gather(*(simulator.chat(f"row-{number}", max_tokens=100) for number in range(80)))
    made = sorted(answer.json["usage"]["completion_tokens"] for answer in answers)
    assert 20 < made[40] < 45  # the median is 0.3 of max_tokens
    for answer in answers:
        reason = "length" if answer.json["usage"]["completion_tokens"] == 100 else "stop"
        assert answer.json["choices"][0]["finish_reason"] == reason


async def test_ignoring_the_end_token_makes_exactly_max_tokens(simulate):
    simulator = await simulate()
    body = (await simulator.chat(max_tokens=64, ignore_eos_token=True)).json
    assert body["usage"]["completion_tokens"] == 64
    assert body["choices"][0]["finish_reason"] == "length"


async def test_a_stop_sequence_ends_in_content_filter_and_stays_in_the_text(simulate):
    simulator = await simulate()
    (choice,) = (await simulator.chat(max_tokens=200, stop=["END"])).json["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"].endswith("END")


async def test_two_choices_come_with_the_usage_of_the_first(simulate):
    simulator = await simulate()
    body = (await simulator.chat(n=2, temperature=1.0)).json
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert (await simulator.stats())["permits_taken"] == 0


async def test_unknown_fields_are_ignored_and_parts_are_flattened(simulate):
    simulator = await simulate()
    parts = [{"type": "text", "text": "look "}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    answer = await simulator.chat(
        messages=[{"role": "user", "content": parts, "tool_calls": []}], logprobs=True, max_completion_tokens=-3
    )
    assert "look ![](http://x/y.png)" in answer.json["choices"][0]["message"]["content"]


async def test_a_json_schema_gives_json_of_that_shape(simulate):
    simulator = await simulate()
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    answer = await simulator.chat(response_format=wanted, max_tokens=100)
    assert set(json.loads(answer.json["choices"][0]["message"]["content"])) == {"name", "age"}


async def test_a_schema_that_does_not_compile_is_a_batch_wide_424(simulate):
    simulator = await simulate()
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": "nothing"}}}
    answer = await simulator.chat(response_format=wanted)
    assert answer.status == 424
    assert "Could not translate the instance" in answer.json["error"]


async def test_a_tool_call_has_arguments_and_no_content_and_never_finishes_as_tool_calls(simulate):
    simulator = await simulate()
    (choice,) = (await simulator.chat(tools=[OTHER, WEATHER], tool_choice="weather", max_tokens=100)).json["choices"]
    assert "content" not in choice["message"]
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], call["type"]) == ("0", "function")
    assert call["function"]["description"] is None
    assert set(json.loads(call["function"]["arguments"])) == {"city"}
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tool_choice": "required"}, "Tool error: Tool with name required not found"),
        ({"response_format": {"type": "json_object"}}, "Tool error: Grammar and tools are mutually exclusive"),
        ({"max_tokens": 2}, "Tool error: Failed to parse generated text"),
    ],
)
async def test_tool_errors(simulate, fields, text):
    simulator = await simulate()
    answer = await simulator.chat(tools=[WEATHER], **fields)
    assert (answer.status, answer.json) == (422, {"error": text, "error_type": "tool_error"})


async def test_streaming_sends_chunks_then_usage_then_done(simulate):
    simulator = await simulate()
    answer = await simulator.chat("row-3", stream=True, max_tokens=12)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert "x-total-time" not in answer.headers
    *chunks, done = answer.events
    assert done == "[DONE]"
    parsed = [json.loads(chunk) for chunk in chunks]
    assert {(chunk["object"], chunk["model"], chunk["created"]) for chunk in parsed} == {
        ("chat.completion.chunk", "null", 0)
    }
    assert [("usage" in chunk) for chunk in parsed] == [False] * (len(parsed) - 1) + [True]
    assert parsed[-1]["usage"]["completion_tokens"] == len(parsed)
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in parsed)
    assert streamed == (await simulator.chat("row-3", max_tokens=12)).json["choices"][0]["message"]["content"]


async def test_a_streaming_error_is_a_200_with_an_error_event_and_no_done(simulate):
    simulator = await simulate()
    answer = await simulator.chat(stream=True, max_tokens=0)
    assert answer.status == 200
    (event,) = answer.events
    assert json.loads(event)["error_type"] == "validation"


@pytest.mark.parametrize(
    ("template", "messages", "kind"),
    [
        ("none", [("user", "hi")], "template_error"),
        ("mistral", [("system", "be nice"), ("user", "hi")], "template_error"),
        ("mistral", [("user", "hi"), ("user", "again")], "template_error"),
        ("guarded", [("user", "hi")], "missing_template_variable"),
    ],
)
async def test_template_errors(simulate, template, messages, kind):
    simulator = await simulate("--chat-template", template)
    answer = await simulator.chat(messages=[{"role": role, "content": content} for role, content in messages])
    assert (answer.status, answer.json["error_type"]) == (422, kind)
    expected = "Missing template vatiable: guideline" if kind == "missing_template_variable" else "Failed applying"
    assert answer.json["error"].startswith(expected)
