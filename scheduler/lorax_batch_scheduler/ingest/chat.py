"""`/v1/chat/completions`."""

from typing import Any, Final

import msgspec

from lorax_batch_scheduler.chunk import CHAT
from lorax_batch_scheduler.ingest.constraints import Constraint, chat_response_format, chat_tools
from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.messages import IMAGE_CHARACTERS, messages, prompt_characters
from lorax_batch_scheduler.ingest.request import (
    SAMPLING,
    UNUSED,
    AdapterSource,
    MaxTokens,
    NonEmpty,
    Penalty,
    RepetitionPenalty,
    Row,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    best_of,
    body_tail,
    check_best_of,
    drop_sampling_when_greedy,
    encode,
    take_adapter_source,
    take_max_tokens,
    take_model,
    token_estimate,
)
from lorax_batch_scheduler.ingest.rules import Rule, apply_rules, dropped, need, refused, text

_NO_LOGPROBS: Final = "its chat returns none; leave it out"


def _as_given(value: object, _param: str) -> object:
    return value


FIELDS: Final[dict[str, Rule]] = {
    "messages": messages,
    **SAMPLING,
    "n": best_of,
    # Checked together, after the other fields.
    "response_format": _as_given,
    "tools": _as_given,
    "tool_choice": _as_given,
    "tool_prompt": text,
    "guideline": text,
    **UNUSED,
    # One call at most is made anyway, and it is a permission, not a wish.
    "parallel_tool_calls": dropped,
    "prediction": dropped,
    "logprobs": refused(_NO_LOGPROBS, False),
    "top_logprobs": refused(_NO_LOGPROBS, 0),
    "best_of": refused("use 'n'", 1),
    "functions": refused("use 'tools'", []),
    "function_call": refused("use 'tool_choice'", "none", "auto"),
    "modalities": refused("it answers with text only", ["text"]),
    "audio": refused("it answers with text only"),
    "reasoning_effort": refused("leave it out"),
    "verbosity": refused("leave it out"),
    "web_search_options": refused("leave it out"),
}


def normalise(body: dict[str, object], limits: IngestLimits) -> Row:
    """Check the body of a chat. Raises `InvalidRowError`."""
    given = dict(body)
    model = take_model(need(given, "model", "body", ': use "" for the base model'), "body.model", limits)
    del given["model"]
    source = take_adapter_source(given, "body", limits)
    max_tokens = take_max_tokens(given, ("max_tokens", "max_completion_tokens"), "body", limits)
    need(given, "messages", "body")
    fields = apply_rules(FIELDS, given, "body")
    drop_sampling_when_greedy(fields)
    check_best_of(fields, "n", "body", sampling=fields.get("temperature") != 0)
    characters = prompt_characters(fields["messages"])
    constraint, tools_characters = _constrain(fields)
    return Row(
        (CHAT, model, source),
        body_tail(fields),
        token_estimate(characters + tools_characters),
        max_tokens,
        constraint.schema_hash if constraint else 0,
    )


def _constrain(fields: dict[str, object]) -> tuple[Constraint | None, int]:
    """Check what constrains the output, in place; return it, and how many characters it adds to the prompt."""
    constraint, added = None, 0
    if "response_format" in fields:
        constraint = chat_response_format(encode(fields["response_format"]))
        _replace(fields, "response_format", constraint)
    if "tools" in fields:
        tools = chat_tools(encode(fields["tools"]))
        if tools and constraint:
            message = "'body.tools' and 'body.response_format' exclude each other in LoRAX: drop one"
            raise InvalidRowError(Code.INVALID_REQUEST, "body.tools", message)
        _replace(fields, "tools", tools)
        constraint, added = tools or constraint, len(bytes(tools.json)) if tools else 0
    if "tool_choice" in fields:
        choice = _tool_choice(fields["tool_choice"], constraint.names if constraint else ())
        if choice is None:
            del fields["tool_choice"]
        else:
            fields["tool_choice"] = choice
    return constraint, added


def _replace(fields: dict[str, object], name: str, constraint: Constraint | None) -> None:
    if constraint is None:
        del fields[name]
    else:
        fields[name] = constraint.json


def _tool_choice(value: object, names: tuple[str, ...]) -> str | None:
    """Return the choice as LoRAX wants it: "none", "auto" or the bare name of a function."""
    param = "body.tool_choice"
    if value in ("none", "auto"):
        return str(value) if names else None
    if value == "required" and len(names) == 1:
        return names[0]
    if value == "required":
        message = f'\'{param}\' is "required", which LoRAX knows for a single function only: name one, or use "auto"'
        raise InvalidRowError(Code.UNSUPPORTED_VALUE, param, message)
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else value
    if not isinstance(name, str) or name not in names:
        known = f"the functions are {', '.join(names)}" if names else "there are no 'tools'"
        message = f'\'{param}\' is {shown(value)}, but must be "none", "auto" or one of the functions; {known}'
        raise InvalidRowError(Code.INVALID_VALUE, param, message)
    return name


class _Text(msgspec.Struct, tag="text", forbid_unknown_fields=True, gc=False):
    text: str


class _Url(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    url: NonEmpty


class _Image(msgspec.Struct, tag="image_url", forbid_unknown_fields=True, gc=False):
    image_url: _Url


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: NonEmpty
    content: str | list[_Text | _Image] | None


class ChatBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A body of the common shape. The fields to send stand in the order of `FIELDS`."""

    messages: list[_Message]
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    stop: Stop | NonEmpty | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    ignore_eos_token: bool | None = None
    n: int | None = None
    response_format: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tools: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    # Not sent as they are:
    model: str | None = None
    adapter_source: AdapterSource | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    stream: bool | None = None
    user: Any = None
    metadata: Any = None


def shortcut(body: ChatBody, models: set[str], limits: IngestLimits) -> Row | None:
    """Return the row of a body of the common shape; None leaves it to `normalise`."""
    model = body.model
    max_tokens = body.max_tokens or body.max_completion_tokens or 0
    if (
        model not in models
        or not body.messages
        or body.stream
        or max_tokens > limits.max_tokens
        or (body.adapter_source is not None and body.adapter_source not in limits.adapter_sources)
        or body.n is not None
        or (body.max_completion_tokens is not None and body.max_tokens is not None)
    ):
        return None
    assert model is not None
    source = body.adapter_source or ""
    body.model = body.max_tokens = None
    # Asking costs 17 ns a field, setting 70.
    if (
        body.max_completion_tokens is not None
        or body.adapter_source is not None
        or body.stream is not None
        or body.user is not None
        or body.metadata is not None
    ):
        body.max_completion_tokens = body.adapter_source = body.stream = body.user = body.metadata = None
    if body.temperature == 0:
        body.top_p = body.top_k = None
    if type(body.stop) is str:
        body.stop = [body.stop]
    characters = 0
    for message in body.messages:
        content = message.content
        characters += len(content) if type(content) is str else _parts_characters(content)
    schema_hash = 0
    if body.response_format is not msgspec.UNSET or body.tools is not msgspec.UNSET:
        constraint = _constrain_shortcut(body)
        if constraint is None:
            return None
        schema_hash = constraint.schema_hash
        if constraint.names:
            characters += len(bytes(constraint.json))
    return Row((CHAT, model, source), body_tail(body), token_estimate(characters), max_tokens, schema_hash)


def _parts_characters(content: object) -> int:
    if content is None:
        return 0
    assert isinstance(content, list)
    return sum(
        len(part.text) if type(part) is _Text else len(part.image_url.url) + IMAGE_CHARACTERS for part in content
    )


def _constrain_shortcut(body: ChatBody) -> Constraint | None:
    """Check what constrains the output, in place; None when it takes a longer look."""
    if body.tools is msgspec.UNSET:
        assert isinstance(body.response_format, msgspec.Raw)
        constraint = chat_response_format(bytes(body.response_format))
        body.response_format = constraint.json if constraint else msgspec.UNSET
        return constraint
    if body.response_format is not msgspec.UNSET:
        return None
    assert isinstance(body.tools, msgspec.Raw)
    constraint = chat_tools(bytes(body.tools))
    body.tools = constraint.json if constraint else msgspec.UNSET
    return constraint
