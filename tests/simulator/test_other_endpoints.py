"""Completions, native generate, embeddings, tokenize."""

import json

import pytest

from tests.simulator.conftest import MODEL


async def test_a_completion_has_created_0_and_model_null(simulate):
    simulator = await simulate()
    body = (await simulator.post("/v1/completions", {"model": "", "prompt": "row-1", "max_tokens": 30})).json
    assert (body["id"], body["object"], body["created"], body["model"]) == ("null", "text_completion", 0, "null")
    (choice,) = body["choices"]
    assert list(choice) == ["index", "text", "logprobs", "finish_reason"]
    assert choice["logprobs"] is None
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


async def test_a_completion_takes_one_string_prompt_only_and_echoes_it_when_asked(simulate):
    simulator = await simulate()
    assert (await simulator.post("/v1/completions", {"model": "", "prompt": ["a", "b"]})).status == 422
    echoed = await simulator.post("/v1/completions", {"model": "", "prompt": "row-1 ", "max_tokens": 9, "echo": True})
    assert echoed.json["choices"][0]["text"].startswith("row-1 ")


async def test_a_completion_streams_chunks_and_done(simulate):
    simulator = await simulate()
    answer = await simulator.post("/v1/completions", {"model": "", "prompt": "x", "max_tokens": 9, "stream": True})
    assert answer.events[-1] == "[DONE]"
    assert json.loads(answer.events[-2])["usage"]["completion_tokens"] == len(answer.events) - 1


async def test_native_generate_answers_one_object_and_the_root_a_list(simulate):
    simulator = await simulate()
    body = {"inputs": "row-1", "parameters": {"max_new_tokens": 20}}
    one = await simulator.post("/generate", body)
    assert list(one.json) == ["generated_text"]
    for path in ("/", "/invocations"):
        assert (await simulator.post(path, body)).json == [one.json]
    assert one.headers["x-prompt-tokens"] == "3"


async def test_native_details(simulate):
    simulator = await simulate()
    parameters = {"max_new_tokens": 8, "details": True, "ignore_eos_token": True, "seed": 3, "return_full_text": True}
    body = (await simulator.post("/generate", {"inputs": "row-1", "parameters": parameters})).json
    assert body["generated_text"].startswith("row-1")
    details = body["details"]
    assert (details["finish_reason"], details["generated_tokens"], details["seed"]) == ("length", 8, 3)
    assert set(details["tokens"][0]) == {"id", "text", "logprob", "special", "skipped"}


async def test_native_streams_tokens_with_the_whole_text_in_the_last_event(simulate):
    simulator = await simulate()
    body = {"inputs": "row-1", "parameters": {"max_new_tokens": 8, "ignore_eos_token": True}}
    by_path = await simulator.post("/generate_stream", body)
    by_field = await simulator.post("/", body | {"stream": True})
    for answer in (by_path, by_field):
        events = [json.loads(event) for event in answer.events]
        assert [event["generated_text"] is None for event in events] == [True] * 7 + [False]
        assert "".join(event["token"]["text"] for event in events) == events[-1]["generated_text"]
        assert events[-1]["details"]["generated_tokens"] == 8


async def test_native_adapters_come_as_one_id_or_merged(simulate):
    simulator = await simulate()
    merged = {"merged_adapters": {"ids": ["org/a", "org/b"], "weights": [0.5, 0.5]}, "max_new_tokens": 2}
    answer = await simulator.post("/generate", {"inputs": "x", "parameters": merged})
    assert answer.headers["x-adapter-id"] == "org/a+org/b"
    single = {"adapter_id": "org/a", "adapter_source": "local", "max_new_tokens": 2}
    answer = await simulator.post("/generate", {"inputs": "x", "parameters": single})
    assert (answer.headers["x-adapter-id"], answer.headers["x-adapter-source"]) == ("org/a", "local")


async def test_an_embedding_model_embeds(simulate):
    simulator = await simulate("--task", "feature-extraction")
    native = await simulator.post("/embed", {"inputs": "row-1"})
    assert len(native.json["embeddings"]) == 8
    listed = (await simulator.post("/v1/embeddings", {"input": "row-1", "model": ""})).json
    assert listed["data"] == [{"object": "embedding", "embedding": native.json["embeddings"], "index": 0}]
    assert listed["model"] == MODEL


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/embed", {"inputs": "x"}, "does not support embeddings"),
        ("/v1/embeddings", {"input": "x"}, "does not support embeddings"),
        ("/classify", {"inputs": "x"}, "does not support classification"),
    ],
)
async def test_the_wrong_kind_of_model_is_a_424(simulate, path, body, text):
    simulator = await simulate()
    answer = await simulator.post(path, body)
    assert answer.status == 424
    assert text in answer.json["error"]


async def test_an_embedding_model_does_not_generate(simulate):
    simulator = await simulate("--task", "feature-extraction")
    answer = await simulator.chat()
    assert answer.status == 424
    assert "does not support text generation" in answer.json["error"]


async def test_tokenize_cuts_the_raw_text(simulate):
    simulator = await simulate()
    tokens = (await simulator.post("/tokenize", {"inputs": "hello world"})).json
    assert [token["text"] for token in tokens] == ["<s>", "hell", "o wo", "rld"]
    assert all(set(token) == {"id", "text", "start", "stop"} for token in tokens)
    bare = (await simulator.post("/tokenize", {"inputs": "hello", "add_special_tokens": False})).json
    assert bare[-1]["stop"] == 5
    assert len(bare) == 2
