"""The checks of one row after it got its permit, in the router's order."""

from dataclasses import dataclass

from lorax_simulator import errors, tokens
from lorax_simulator.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the row asked of sampling and stopping, the same for every endpoint; None is what it left out."""

    max_new_tokens: int | None = None
    best_of: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    return_k_alternatives: int | None = None
    do_sample: bool = False
    ignore_eos_token: bool = False
    stop: tuple[str, ...] = ()
    seed: int | None = None
    truncate: int | None = None
    has_adapter_id: bool = False
    has_merged_adapters: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """The accepted lengths of a row, in tokens."""

    prompt_tokens: int
    max_new_tokens: int


def validate(prompt: str, parameters: Parameters, limits: Limits) -> Lengths:
    """Return the row's lengths.

    Raises RouterError (422 `validation`) at the first check that fails.
    """
    if parameters.has_adapter_id and parameters.has_merged_adapters:
        raise errors.invalid("at most one of `adapter_id` or `adapters` may be provided")
    _check_best_of(parameters, limits)
    _check_sampling(parameters)
    _check_stopping(parameters, limits)
    if parameters.seed is not None and (parameters.best_of or 1) > 1:
        raise errors.invalid("`seed` must not be set when `best_of` > 1")
    if not prompt:
        raise errors.invalid("`inputs` cannot be empty")
    return _check_lengths(prompt, parameters, limits)


def _check_best_of(parameters: Parameters, limits: Limits) -> None:
    best_of = parameters.best_of
    if best_of is None or best_of == 1:
        return
    if limits.max_best_of == 1:
        raise errors.invalid("`best_of` != 1 is not allowed for this endpoint")
    if not 0 < best_of <= limits.max_best_of:
        raise errors.invalid(f"`best_of` must be > 0 and <= {limits.max_best_of}. Given: {best_of}")
    greedy = parameters.temperature == 0 and parameters.top_p is None and parameters.top_k is None
    settings = (parameters.temperature, parameters.top_p, parameters.top_k, parameters.typical_p)
    if greedy or not (parameters.do_sample or any(setting is not None for setting in settings)):
        raise errors.invalid("you must use sampling when `best_of` is > 1")


def _check_sampling(parameters: Parameters) -> None:
    if parameters.temperature is not None and parameters.temperature < 0:
        raise errors.invalid("`temperature` must be non-negative")
    if parameters.repetition_penalty is not None and parameters.repetition_penalty <= 0:
        raise errors.invalid("`repetition_penalty` must be strictly positive")
    for name in ("frequency_penalty", "presence_penalty"):
        penalty = getattr(parameters, name)
        if penalty is not None and not -2 <= penalty <= 2:
            raise errors.invalid(f"`{name}` must be >= -2.0 and <= 2.0")
    if parameters.top_p is not None and not 0 < parameters.top_p <= 1:  # 1 is allowed, whatever the text says
        raise errors.invalid("`top_p` must be > 0.0 and < 1.0")
    if parameters.typical_p is not None and not 0 < parameters.typical_p < 1:
        raise errors.invalid("`typical_p` must be > 0.0 and < 1.0")
    for name in ("top_k", "return_k_alternatives"):
        number = getattr(parameters, name)
        if number is not None and number <= 0:
            raise errors.invalid(f"`{name}` must be strictly positive")


def _check_stopping(parameters: Parameters, limits: Limits) -> None:
    if parameters.max_new_tokens == 0:
        raise errors.invalid("`max_new_tokens` must be strictly positive")
    if len(parameters.stop) > limits.max_stop_sequences:
        raise errors.invalid(
            f"`stop` supports up to {limits.max_stop_sequences} stop sequences. Given: {len(parameters.stop)}"
        )
    truncate = parameters.truncate
    if truncate is not None and not 0 < truncate <= limits.max_input_length:
        raise errors.invalid(
            f"`truncate` must be strictly positive and less than {limits.max_input_length}. Given: {truncate}"
        )


def _check_lengths(prompt: str, parameters: Parameters, limits: Limits) -> Lengths:
    prompt_tokens = tokens.count(prompt)
    if parameters.truncate is not None:
        prompt_tokens = min(prompt_tokens, parameters.truncate)
    if parameters.max_new_tokens is None:
        max_new_tokens = max(0, limits.max_total_tokens - prompt_tokens)
    else:
        max_new_tokens = parameters.max_new_tokens
    if prompt_tokens + max_new_tokens > limits.max_total_tokens:
        raise errors.invalid(
            f"`inputs` tokens + `max_new_tokens` must be <= {limits.max_total_tokens}. "
            f"Given: {prompt_tokens} `inputs` tokens and {max_new_tokens} `max_new_tokens`"
        )
    if prompt_tokens > limits.max_input_length:
        raise errors.invalid(f"`inputs` must have less than {limits.max_input_length} tokens. Given: {prompt_tokens}")
    return Lengths(prompt_tokens=prompt_tokens, max_new_tokens=max(1, max_new_tokens))
