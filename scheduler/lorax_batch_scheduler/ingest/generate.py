"""`/generate`, LoRAX's own request. The names of its parameters are those of `lorax.types.Parameters`."""

from typing import Final

from lorax_batch_scheduler.chunk import GENERATE
from lorax_batch_scheduler.ingest.constraints import generate_response_format
from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError
from lorax_batch_scheduler.ingest.limits import MAX_STOP_SEQUENCES, IngestLimits
from lorax_batch_scheduler.ingest.request import (
    SAMPLING,
    UNUSED,
    Row,
    adapter_name,
    best_of,
    check_best_of,
    check_no_path,
    encode,
    take_adapter_source,
    take_max_tokens,
    take_model,
    token_estimate,
)
from lorax_batch_scheduler.ingest.rules import (
    MAX_INT32,
    Rule,
    apply_rules,
    boolean,
    integer,
    need,
    non_empty_text,
    number,
    one_of,
    streaming,
    strings,
    wrong_type,
)

_PATH: Final = "body.parameters"
_MAX_MERGED: Final = 64


def _merged_adapters(value: object, path: str) -> dict[str, object]:
    """Check what to merge; the server crashes at an unknown strategy or method."""
    if not isinstance(value, dict):
        raise wrong_type(value, path, "an object")
    for name in ("ids", "weights", "density"):
        need(value, name, path)
    merged = apply_rules(_MERGED, value, path)
    ids, weights = merged.get("ids"), merged["weights"]
    assert isinstance(weights, list)
    if not isinstance(ids, list) or len(ids) != len(weights):
        message = f"'{path}.ids' and '{path}.weights' must not be empty and must have the same length"
        raise InvalidRowError(Code.INVALID_VALUE, f"{path}.ids", message)
    for index, adapter in enumerate(ids):
        adapter_name(adapter, f"{path}.ids[{index}]")
    return merged


def _weights(value: object, param: str) -> list[object]:
    if not isinstance(value, list):
        raise wrong_type(value, param, "a list of numbers")
    return [_weight(item, f"{param}[{index}]") for index, item in enumerate(value)]


_weight: Final = number(at_least=-1e6, at_most=1e6)
_MERGED: Final[dict[str, Rule]] = {
    "ids": strings(at_most=_MAX_MERGED),
    "weights": _weights,
    "merge_strategy": one_of("linear", "ties", "dare_linear", "dare_ties"),
    "density": number(at_least=0, at_most=1),
    "majority_sign_method": one_of("total", "frequency"),
}


def _as_given(value: object, _param: str) -> object:
    return value


PARAMETERS: Final[dict[str, Rule]] = {
    **SAMPLING,
    "stop": strings(at_most=MAX_STOP_SEQUENCES),
    "best_of": best_of,
    "typical_p": number(above=0, at_most=1),
    "do_sample": boolean,
    "truncate": integer(at_least=1, at_most=MAX_INT32),
    "return_full_text": boolean,
    "watermark": boolean,
    "details": boolean,
    "decoder_input_details": boolean,
    "return_k_alternatives": integer(at_least=1, at_most=MAX_INT32),
    "merged_adapters": _merged_adapters,
    # Checked after the other fields.
    "response_format": _as_given,
    "api_token": UNUSED["api_token"],
}
FIELDS: Final[dict[str, Rule]] = {"inputs": non_empty_text, "stream": streaming}


def normalise(body: dict[str, object], limits: IngestLimits) -> Row:
    """Check the body of a generate request. Raises `InvalidRowError`."""
    given = dict(body)
    need(given, "inputs", "body")
    parameters = given.pop("parameters", None)
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise wrong_type(parameters, _PATH, "an object")
    parameters = dict(parameters)
    adapter = parameters.pop("adapter_id", None)
    model = "" if adapter is None else take_model(adapter, f"{_PATH}.adapter_id", limits)
    source = take_adapter_source(parameters, _PATH, limits)
    max_tokens = take_max_tokens(parameters, ("max_new_tokens",), _PATH, limits)
    fields = apply_rules(FIELDS, given, "body")
    kept = apply_rules(PARAMETERS, parameters, _PATH)
    if model and "merged_adapters" in kept:
        message = f"'{_PATH}' has both 'adapter_id' and 'merged_adapters': give one of them"
        raise InvalidRowError(Code.INVALID_REQUEST, f"{_PATH}.merged_adapters", message)
    _check_merged_paths(kept, limits)
    _check_sampling(kept)
    schema_hash = _constrain(kept)
    inputs = str(fields["inputs"])
    tail = encode(kept)[1:] if not kept else b"," + encode(kept)[1:]
    return Row(
        (GENERATE, model, source),
        tail + b"," + encode(fields)[1:],
        _prompt_tokens(inputs, kept),
        max_tokens,
        schema_hash,
    )


def _check_merged_paths(kept: dict[str, object], limits: IngestLimits) -> None:
    merged = kept.get("merged_adapters")
    ids = merged["ids"] if isinstance(merged, dict) else []
    for index, adapter in enumerate(ids):
        check_no_path(adapter, f"{_PATH}.merged_adapters.ids[{index}]", limits)


def _check_sampling(kept: dict[str, object]) -> None:
    sampling = kept.get("do_sample") is True or any(
        name in kept for name in ("temperature", "top_k", "top_p", "typical_p")
    )
    if kept.get("temperature") == 0:
        message = f"'{_PATH}.temperature' is 0, which /generate does not know: leave it out for greedy decoding"
        raise InvalidRowError(Code.INVALID_VALUE, f"{_PATH}.temperature", message)
    check_best_of(kept, "best_of", _PATH, sampling=sampling)


def _constrain(kept: dict[str, object]) -> int:
    if "response_format" not in kept:
        return 0
    constraint = generate_response_format(encode(kept["response_format"]))
    if constraint is None:
        del kept["response_format"]
        return 0
    kept["response_format"] = constraint.json
    return constraint.schema_hash


def _prompt_tokens(inputs: str, kept: dict[str, object]) -> int:
    estimate = token_estimate(len(inputs))
    truncate = kept.get("truncate")
    return min(estimate, truncate) if isinstance(truncate, int) else estimate
