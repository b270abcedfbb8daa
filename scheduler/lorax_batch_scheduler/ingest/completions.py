"""`/v1/completions`."""

from typing import Any, Final

import msgspec

from lorax_batch_scheduler.chunk import COMPLETIONS
from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.limits import IngestLimits
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
    take_adapter_source,
    take_max_tokens,
    take_model,
    token_estimate,
)
from lorax_batch_scheduler.ingest.rules import Rule, apply_rules, boolean, need, non_empty_text, refused


def _prompt(value: object, param: str) -> str:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return non_empty_text(value[0], param)
    if isinstance(value, list):
        message = f"'{param}' is {shown(value)}, but LoRAX completes one string a request: make a row of each prompt"
        raise InvalidRowError(Code.UNSUPPORTED_VALUE, param, message)
    return non_empty_text(value, param)


FIELDS: Final[dict[str, Rule]] = {
    "prompt": _prompt,
    **SAMPLING,
    "best_of": best_of,
    "echo": boolean,
    **UNUSED,
    "n": refused("make a row of each completion", 1),
    "logprobs": refused("it computes them, but returns none; leave it out", False),
    "suffix": refused("it can't insert text; leave it out", ""),
    "response_format": refused("its completions can't be constrained; use /v1/chat/completions or /generate"),
}


def normalise(body: dict[str, object], limits: IngestLimits) -> Row:
    """Check the body of a completion. Raises `InvalidRowError`."""
    given = dict(body)
    model = take_model(need(given, "model", "body", ': use "" for the base model'), "body.model", limits)
    del given["model"]
    source = take_adapter_source(given, "body", limits)
    max_tokens = take_max_tokens(given, ("max_tokens",), "body", limits)
    need(given, "prompt", "body")
    fields = apply_rules(FIELDS, given, "body")
    # Unlike a chat, a completion is greedy unless told otherwise.
    sampling = fields.get("temperature", 0) != 0 or "top_p" in fields or "top_k" in fields
    drop_sampling_when_greedy(fields)
    check_best_of(fields, "best_of", "body", sampling=sampling and fields.get("temperature") != 0)
    estimate = token_estimate(len(str(fields["prompt"])))
    return Row((COMPLETIONS, model, source), body_tail(fields), estimate, max_tokens)


class CompletionBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A body of the common shape. The fields to send stand in the order of `FIELDS`."""

    prompt: NonEmpty
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    stop: Stop | NonEmpty | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    ignore_eos_token: bool | None = None
    echo: bool | None = None
    # Not sent as they are:
    model: str | None = None
    adapter_source: AdapterSource | None = None
    max_tokens: MaxTokens | None = None
    stream: bool | None = None
    user: Any = None


def shortcut(body: CompletionBody, models: set[str], limits: IngestLimits) -> Row | None:
    """Return the row of a body of the common shape; None leaves it to `normalise`."""
    model, max_tokens = body.model, body.max_tokens or 0
    source = body.adapter_source or ""
    if (
        model not in models
        or body.stream
        or max_tokens > limits.max_tokens
        or (source and source not in limits.adapter_sources)
    ):
        return None
    assert model is not None
    body.model = body.adapter_source = body.max_tokens = body.stream = body.user = None
    if body.temperature == 0:
        body.top_p = body.top_k = None
    if type(body.stop) is str:
        body.stop = [body.stop]
    return Row((COMPLETIONS, model, source), body_tail(body), token_estimate(len(body.prompt)), max_tokens)
