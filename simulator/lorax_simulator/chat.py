"""`POST /v1/chat/completions`."""

import time
from collections.abc import Sequence

import msgspec

from lorax_simulator import errors
from lorax_simulator.bodies import ChatBody, ChatResponseFormat, Tool
from lorax_simulator.connection import Connection, Request
from lorax_simulator.decoding import decode
from lorax_simulator.generation import FINISH_EOS, FINISH_LENGTH, Generated, Reply, Wish
from lorax_simulator.server import Server
from lorax_simulator.validation import Parameters

DEFAULT_SOURCE = "hub"
_ANY_OBJECT: dict[str, object] = {"type": "object", "properties": {"answer": {"type": "string"}}}


def chat(server: Server, request: Request, connection: Connection) -> None:
    """Answer one chat row."""

    def prepare() -> tuple[Wish, Reply]:
        body = decode(request.headers.get("content-type", ""), request.body, ChatBody)
        return _wish(body, server), _reply(body, server)

    server.generate(request, connection, prepare)


def adapter_of(model: str, server: Server) -> str:
    """Return the adapter id that a `model` field means: empty for the base model."""
    return "" if model == server.options.identity.model_id else model


def unsigned(max_tokens: int | None) -> int | None:
    """Return `max_tokens` as the router has it: a negative number wraps to a huge one."""
    return None if max_tokens is None else max_tokens % 2**32


def completion_finish_reason(generated: Generated) -> str:
    """Return OpenAI's word for the finish; a stop sequence comes out as `content_filter`, as in LoRAX."""
    return {FINISH_LENGTH: "length", FINISH_EOS: "stop"}.get(generated.finish_reason, "content_filter")


def usage(generated: Generated) -> dict[str, int]:
    """Return the `usage` of an answer; of several sequences only the best one counts."""
    return {
        "prompt_tokens": generated.prompt_tokens,
        "total_tokens": generated.prompt_tokens + generated.generated_tokens,
        "completion_tokens": generated.generated_tokens,
    }


def _wish(body: ChatBody, server: Server) -> Wish:
    prompt = server.options.template(body.messages, body.guideline)
    schema = _schema(body)
    return Wish(
        prompt=prompt,
        said=body.messages[-1].text() if body.messages else "",
        adapter_id=adapter_of(body.model, server),
        adapter_source=body.adapter_source or DEFAULT_SOURCE,
        streams=bool(body.stream),
        schema=schema,
        parameters=Parameters(
            max_new_tokens=unsigned(body.max_tokens),
            best_of=body.n,
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            repetition_penalty=body.repetition_penalty,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            do_sample=body.temperature != 0,
            ignore_eos_token=bool(body.ignore_eos_token),
            stop=tuple(body.stop),
            seed=body.seed,
        ),
    )


def _schema(body: ChatBody) -> object:
    chosen = _chosen_tools(body)
    if chosen:
        if body.response_format is not None and body.response_format.type != "text":
            raise errors.tool_failed("Grammar and tools are mutually exclusive")
        return chosen[0].function.parameters or {"type": "object"}
    return _format_schema(body.response_format)


def _chosen_tools(body: ChatBody) -> Sequence[Tool]:
    choice = body.tool_choice or "auto"
    if not body.tools or choice == "none":
        return ()
    if choice == "auto":
        return body.tools
    chosen = [tool for tool in body.tools if tool.function.name == choice]
    if not chosen:
        raise errors.tool_failed(f"Tool with name {choice} not found")
    return chosen


def _format_schema(wanted: ChatResponseFormat | None) -> object:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise errors.wrong_type("response_format: missing field `json_schema`")
        return wanted.json_schema.schema if wanted.json_schema.schema is not None else {"type": "object"}
    return wanted.schema if wanted.schema is not None else _ANY_OBJECT


def _reply(body: ChatBody, server: Server) -> Reply:
    tools = _chosen_tools(body)
    name = tools[0].function.name if tools else None

    def whole(sequences: list[Generated]) -> object:
        identity = server.options.identity
        return {
            "id": "null",
            "object": "text_completion",
            "created": int(time.time()),
            "model": identity.model_id,
            "choices": [
                {
                    "index": index,
                    "message": _message(generated, name),
                    "finish_reason": completion_finish_reason(generated),
                }
                for index, generated in enumerate(sequences)
            ],
            "usage": usage(sequences[0]),
            "system_fingerprint": identity.fingerprint,
        }

    return Reply(whole=whole, event=_event)


def _message(generated: Generated, function: str | None) -> dict[str, object]:
    if function is None:
        return {"role": "assistant", "content": generated.text}
    try:
        msgspec.json.decode(generated.text)
    except msgspec.DecodeError as error:
        raise errors.tool_failed("Failed to parse generated text") from error
    call = {"description": None, "name": function, "arguments": generated.text}
    return {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": call}]}


def _event(text: str, last: Generated | None) -> object:
    reason = completion_finish_reason(last) if last is not None else None
    choice: dict[str, object] = {"index": 0, "delta": {"role": "assistant", "content": text}}
    if reason == "stop":
        choice["delta"] = {}
    if reason is not None:
        choice["finish_reason"] = reason
    chunk: dict[str, object] = {
        "id": "null",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "null",
        "choices": [choice],
    }
    if last is not None:
        chunk["usage"] = usage(last)
    return chunk
