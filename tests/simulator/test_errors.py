"""The texts and the order of the errors."""

import asyncio
from io import BytesIO

import pytest

from tests.simulator.conftest import chat_body

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        ({"temperature": -0.1}, "`temperature` must be non-negative"),
        ({"top_p": 0.0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"top_p": 1.5}, "`top_p` must be > 0.0 and < 1.0"),
        ({"top_k": 0}, "`top_k` must be strictly positive"),
        ({"repetition_penalty": 0}, "`repetition_penalty` must be strictly positive"),
        ({"frequency_penalty": 2.5}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        ({"presence_penalty": -2.5}, "`presence_penalty` must be >= -2.0 and <= 2.0"),
        ({"stop": list("abcde")}, "`stop` supports up to 4 stop sequences. Given: 5"),
        ({"n": 3}, "`best_of` must be > 0 and <= 2. Given: 3"),
        ({"n": 2, "temperature": 0}, "you must use sampling when `best_of` is > 1"),
        ({"n": 2, "temperature": 1, "seed": 1}, "`seed` must not be set when `best_of` > 1"),
        (
            {"max_tokens": 5000},
            "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 15 `inputs` tokens and 5000 `max_new_tokens`",
        ),
        (
            {"max_tokens": -1},
            (
                "`inputs` tokens + `max_new_tokens` must be <= 4096. "
                "Given: 15 `inputs` tokens and 4294967295 `max_new_tokens`"
            ),
        ),
    ],
)
async def test_chat_validation_texts(simulate, fields, text):
    simulator = await simulate()
    answer = await simulator.chat(**fields)
    assert (answer.status, answer.json) == (
        422,
        {"error": f"Input validation error: {text}", "error_type": "validation"},
    )


@pytest.mark.parametrize(
    ("inputs", "parameters", "text"),
    [
        ("", {}, "`inputs` cannot be empty"),
        ("hi", {"typical_p": 1.0}, "`typical_p` must be > 0.0 and < 1.0"),
        ("hi", {"truncate": 0}, "`truncate` must be strictly positive and less than 100. Given: 0"),
        ("hi", {"return_k_alternatives": 0}, "`return_k_alternatives` must be strictly positive"),
        (
            "hi",
            {"adapter_id": "a", "merged_adapters": {"ids": ["b"], "weights": [1.0]}},
            "at most one of `adapter_id` or `adapters` may be provided",
        ),
        ("x" * 440, {"max_new_tokens": 1}, "`inputs` must have less than 100 tokens. Given: 111"),
    ],
)
async def test_native_validation_texts(simulate, inputs, parameters, text):
    simulator = await simulate("--max-input-length", "100")
    answer = await simulator.post("/generate", {"inputs": inputs, "parameters": parameters})
    assert (answer.status, answer.json["error"]) == (422, f"Input validation error: {text}")


async def test_a_prompt_of_exactly_the_longest_input_is_accepted(simulate):
    simulator = await simulate("--max-input-length", "100")
    answer = await simulator.post("/generate", {"inputs": "x" * 396, "parameters": {"max_new_tokens": 1}})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "status", "starts"),
    [
        (b"{", 400, "Failed to parse the request body as JSON: EOF while parsing"),
        (b"nonsense", 400, "Failed to parse the request body as JSON: expected value at line 1"),
        (b"{}", 422, "Failed to deserialize the JSON body into the target type: missing field `model` at line 1"),
        (b'{"model":""}', 422, "Failed to deserialize the JSON body into the target type: missing field `messages`"),
        (
            b'{"model":"","messages":[],"stop":"x"}',
            422,
            (
                "Failed to deserialize the JSON body into the target type: "
                "stop: invalid type: string, expected a sequence at line 1 column 37"
            ),
        ),
        (b'{"model":"","messages":[],"stop":null}', 422, "Failed to deserialize the JSON body"),
        (b'{"model":"","messages":[],"max_tokens":1.5}', 422, "Failed to deserialize the JSON body"),
        (b'{"model":"","messages":[],"max_tokens":99999999999}', 422, "Failed to deserialize the JSON body"),
        (b'{"model":"","messages":[],"seed":-1}', 422, "Failed to deserialize the JSON body"),
        (b'{"model":"","messages":[],"tool_choice":{}}', 422, "Failed to deserialize the JSON body"),
        (b'{"model":"","messages":[],"response_format":{"type":"xml"}}', 422, "Failed to deserialize the JSON body"),
        (
            b'{"model":"","messages":[{"content":"x"}]}',
            422,
            ("Failed to deserialize the JSON body into the target type: messages[0]: missing field `role`"),
        ),
        (
            b'{"model":"","messages":[{"role":"user","content":[{"type":"audio"}]}]}',
            422,
            "Failed to deserialize the JSON body",
        ),
    ],
)
async def test_errors_of_the_http_layer_are_plain_text(simulate, body, status, starts):
    simulator = await simulate()
    answer = await simulator.post(CHAT, data=body, headers={"content-type": "application/json"})
    assert answer.status == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(starts)


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
async def test_another_content_type_is_415(simulate, content_type):
    simulator = await simulate()
    answer = await simulator.post(CHAT, data=b"{}", headers={"content-type": content_type})
    assert answer.status == 415
    assert answer.text == "Expected request with `Content-Type: application/json`"


async def test_a_body_above_2_mib_is_413_and_one_of_2_mib_is_not(simulate):
    simulator = await simulate()
    headers = {"content-type": "application/json"}
    large = await simulator.post(CHAT, data=BytesIO(b" " * (2_097_152 + 1)), headers=headers)
    assert (large.status, large.text) == (413, "Failed to buffer the request body: length limit exceeded")
    fits = await simulator.post(CHAT, data=BytesIO(b" " * 2_097_152), headers=headers)
    assert fits.status == 400


async def test_rows_beyond_the_permits_get_429_at_once(simulate):
    simulator = await simulate("--max-concurrent-requests", "2", "--time-scale", "1")
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(simulator.chat("x", max_tokens=2000, ignore_eos_token=True)) for _ in range(2)]
        while (await simulator.stats())["permits_taken"] < 2:
            pass
        refused = await simulator.chat()
        for call in held:
            call.cancel()
    assert (refused.status, refused.json) == (429, {"error": "Model is overloaded", "error_type": "overloaded"})
    assert "retry-after" not in refused.headers


async def test_template_errors_come_before_the_permit_and_limits_after(simulate):
    simulator = await simulate("--fault", "low-permits=0", "--chat-template", "mistral")
    assert (await simulator.chat(max_tokens=0)).status == 429
    system = [{"role": "system", "content": "x"}]
    assert (await simulator.chat(messages=system)).json["error_type"] == "template_error"
    assert (await simulator.post(CHAT, {"model": ""})).status == 422


async def test_two_choices_take_two_permits(simulate):
    simulator = await simulate("--max-concurrent-requests", "1")
    assert (await simulator.chat(n=2, temperature=1.0)).status == 429
    assert (await simulator.chat()).status == 200


async def test_a_missing_adapter_is_a_424_with_the_hubs_words(simulate):
    simulator = await simulate()
    answer = await simulator.chat(model="missing/adapter")
    assert (answer.status, answer.json["error_type"]) == (424, "generation")
    assert answer.json["error"].startswith("Request failed during generation: Server error: 404 Client Error.")
    assert "Repository Not Found for url" in answer.json["error"]


async def test_unknown_paths_and_wrong_methods_have_empty_bodies(simulate):
    simulator = await simulate()
    for answer, status in (
        (await simulator.get("/v1/models"), 404),
        (await simulator.get(CHAT), 405),
        (await simulator.post("/info", chat_body()), 405),
    ):
        assert (answer.status, answer.text) == (status, "")


async def test_hanging_up_gives_the_permit_and_the_blocks_back(simulate):
    simulator = await simulate("--time-scale", "1")
    free = (await simulator.stats())["free_blocks"]
    async with asyncio.TaskGroup() as group:
        call = group.create_task(simulator.chat(max_tokens=3000, ignore_eos_token=True))
        while not (await simulator.stats())["running"]:
            pass
        call.cancel()
    while (stats := await simulator.stats())["free_blocks"] < free:
        assert stats["rows_answered"] == 0
    assert stats["permits_taken"] == 0
