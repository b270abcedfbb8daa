"""A row on its way into a chunk, and what the requests of all endpoints have in common.

How a request is made, for each endpoint twice: `normalise` is the definition, a table of fields with a rule each;
`shortcut` does the same for rows of the common shape, about ten times faster, and leaves all others to `normalise`.
"""

from typing import Annotated, Final, Literal

import msgspec

from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES, LOCAL_SOURCE, is_path
from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.limits import MAX_MODEL_CHARACTERS, MAX_STOP_SEQUENCES, IngestLimits
from lorax_batch_scheduler.ingest.rules import (
    DROP,
    MAX_FLOAT,
    MAX_SEED,
    Rule,
    as_integer,
    boolean,
    dropped,
    integer,
    number,
    one_of,
    refused,
    streaming,
    strings,
    wrong_type,
)

GroupKey = tuple[str, str, str]
"""(endpoint, model, adapter source)"""

_CHARACTERS_PER_TOKEN: Final = 4

encode: Final = msgspec.json.Encoder().encode


class Row(msgspec.Struct, gc=False):
    """A valid row. `line` and `custom_id` are filled in by who read the line."""

    key: GroupKey
    tail: bytes
    """The body without what depends on the job or the server: see `chunk.py`."""
    prompt_tokens: int
    """Estimated."""
    max_tokens: int
    """0 where the row sets none."""
    schema_hash: int = 0
    line: int = 0
    custom_id: bytes = b""
    """As a JSON string, quotes included."""


def token_estimate(characters: int) -> int:
    """Estimate the tokens of a prompt."""
    return characters // _CHARACTERS_PER_TOKEN or 1


def body_tail(fields: object) -> bytes:
    """Return what stands behind the head of a body."""
    encoded = encode(fields)
    return b"," + encoded[1:] if len(encoded) > 2 else b"}"


def take_model(value: object, param: str, limits: IngestLimits) -> str:
    """Check which model or adapter a row is for."""
    model = adapter_name(value, param)
    check_no_path(model, param, limits)
    return model


def adapter_name(value: object, param: str) -> str:
    """Check the name of a model or adapter."""
    if not isinstance(value, str):
        raise wrong_type(value, param, 'a string: an adapter id, or "" for the base model')
    if len(value) > MAX_MODEL_CHARACTERS:
        message = f"'{param}' has {len(value)} characters; at most {MAX_MODEL_CHARACTERS} are allowed"
        raise InvalidRowError(Code.INVALID_VALUE, param, message)
    if not is_plain(value):
        message = f"'{param}' is {shown(value)}, which holds control characters: remove them"
        raise InvalidRowError(Code.INVALID_VALUE, param, message)
    return value


def check_no_path(model: str, param: str, limits: IngestLimits) -> None:
    """Refuse paths of a server's machine where they are not allowed."""
    if LOCAL_SOURCE not in limits.adapter_sources and is_path(model):
        message = (
            f"'{param}' is {shown(model)}, a path on the server, which this service does not allow (its "
            f'adapter_sources have no local): give the id of an adapter, or "" for the base model'
        )
        raise InvalidRowError(Code.ADAPTER_NOT_ALLOWED, param, message)


def is_plain(model: str) -> bool:
    """Tell whether a name holds no control characters; a newline in one can crash a server."""
    return model.isprintable() or not any(ord(character) < 32 or ord(character) == 127 for character in model)


def take_max_tokens(given: dict[str, object], names: tuple[str, ...], path: str, limits: IngestLimits) -> int:
    """Take the field that limits the output out of the request, under any of its names; 0 when it has none."""
    found: dict[str, int] = {}
    for name in names:
        value = given.pop(name, None)
        if value is not None:
            found[name] = _max_tokens(value, f"{path}.{name}", limits)
    if len(set(found.values())) > 1:
        both = " and ".join(f"'{path}.{name}' is {value}" for name, value in found.items())
        raise InvalidRowError(Code.INVALID_REQUEST, f"{path}.{names[0]}", f"{both}: give one of them")
    return next(iter(found.values()), 0)


def _max_tokens(value: object, param: str, limits: IngestLimits) -> int:
    tokens = as_integer(value, param)
    if tokens < 1:
        raise InvalidRowError(Code.INVALID_VALUE, param, f"'{param}' is {shown(value)}, but must be at least 1")
    if tokens > limits.max_tokens:
        message = f"'{param}' is {shown(value)}; at most {limits.max_tokens} are allowed: lower it"
        raise InvalidRowError(Code.MAX_TOKENS_TOO_LARGE, param, message)
    return tokens


def take_adapter_source(given: dict[str, object], path: str, limits: IngestLimits) -> str:
    """Take `adapter_source` out of the request; "" when it says nothing."""
    value = given.pop("adapter_source", None)
    if value is None:
        return ""
    param = f"{path}.adapter_source"
    source = str(_adapter_source(value, param))
    if source not in limits.adapter_sources:
        allowed = ", ".join(limits.adapter_sources)
        message = f"'{param}' is {shown(source)}, but this service allows {allowed} alone (its adapter_sources)"
        raise InvalidRowError(Code.ADAPTER_NOT_ALLOWED, param, message)
    return source


_adapter_source: Final = one_of(*ADAPTER_SOURCES)


def best_of(value: object, param: str) -> object:
    """Take how many answers are tried; one is what happens anyway."""
    return DROP if (tries := _best_of(value, param)) == 1 else tries


_best_of: Final = integer(at_least=1, at_most=2, way_out=", as a LoRAX server allows: make more rows instead")


def check_best_of(fields: dict[str, object], name: str, path: str, *, sampling: bool) -> None:
    """Refuse several tries where they would all be the same, as the server does."""
    if name in fields and ("seed" in fields or not sampling):
        message = f"'{path}.{name}' of 2 needs sampling without a seed: drop 'seed' and give a 'temperature' above 0"
        raise InvalidRowError(Code.INVALID_REQUEST, f"{path}.{name}", message)


def drop_sampling_when_greedy(fields: dict[str, object]) -> None:
    """With temperature 0, `top_p` or `top_k` would make the server sample after all."""
    if fields.get("temperature") == 0:
        fields.pop("top_p", None)
        fields.pop("top_k", None)


# The fields that chat and completions share. The types below, for the shortcuts, say the same as the rules.
SAMPLING: Final[dict[str, Rule]] = {
    "temperature": number(at_least=0),
    "top_p": number(above=0, at_most=1),
    "top_k": integer(at_least=1, at_most=2**31 - 1, way_out="; leave it out to switch it off"),
    "stop": strings(at_most=MAX_STOP_SEQUENCES),
    "seed": integer(at_least=0, at_most=MAX_SEED),
    "presence_penalty": number(at_least=-2, at_most=2),
    "frequency_penalty": number(at_least=-2, at_most=2),
    "repetition_penalty": number(above=0),
    "ignore_eos_token": boolean,
}
UNUSED: Final[dict[str, Rule]] = {
    "stream": streaming,
    "stream_options": dropped,
    "user": dropped,
    "metadata": dropped,
    "store": dropped,
    "service_tier": dropped,
    "safety_identifier": dropped,
    "prompt_cache_key": dropped,
    "prompt_cache_retention": dropped,
    "logit_bias": refused("leave it out", {}),
    "api_token": refused("secrets do not belong into datasets; give the token to the job"),
}

AdapterSource = Literal["hub", "local", "s3", "pbase"]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=MAX_FLOAT)]
TopP = Annotated[float, msgspec.Meta(gt=0, le=1)]
TopK = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Stop = Annotated[list[NonEmpty], msgspec.Meta(min_length=1, max_length=MAX_STOP_SEQUENCES)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, msgspec.Meta(gt=0, le=MAX_FLOAT)]
MaxTokens = Annotated[int, msgspec.Meta(ge=1)]
