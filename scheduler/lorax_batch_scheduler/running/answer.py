"""Reading a row's result: is it one, and how many tokens did it take.

Only the few fields that matter are decoded; the check of the JSON comes with it. The body itself is passed on as it is.
"""

from collections.abc import Callable

import msgspec

from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE

Tokens = tuple[int, int]
"""Prompt tokens and completion tokens."""


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """Only that it is an object matters."""


class _Choices(msgspec.Struct, frozen=True, gc=False):
    """What chat completions and completions have in common."""

    choices: list[_Choice]
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


class _Embeddings(msgspec.Struct, frozen=True, gc=False):
    data: list[_Choice]
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


class _Details(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int = 0
    generated_tokens: int = 0


class _Generated(msgspec.Struct, frozen=True, gc=False):
    generated_text: str
    details: _Details | None = None
    error: msgspec.Raw | None = None


_choices = msgspec.json.Decoder(_Choices).decode
_embeddings = msgspec.json.Decoder(_Embeddings).decode
_generated = msgspec.json.Decoder(_Generated | list[_Generated]).decode


def _read_choices(body: bytes) -> Tokens | None:
    try:
        answer = _choices(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _tokens(answer.usage) if answer.choices and answer.error is None and _is_utf8(body) else None


def _read_embeddings(body: bytes) -> Tokens | None:
    try:
        answer = _embeddings(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _tokens(answer.usage) if answer.data and answer.error is None and _is_utf8(body) else None


def _read_generated(body: bytes) -> Tokens | None:
    try:
        answer = _generated(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(answer, list):
        if len(answer) != 1:
            return None
        answer = answer[0]
    if answer.error is not None or not _is_utf8(body):
        return None
    details = answer.details or _NO_DETAILS
    return details.prompt_tokens, details.generated_tokens


def _tokens(usage: _Usage | None) -> Tokens:
    return (usage.prompt_tokens, usage.completion_tokens or 0) if usage is not None else (0, 0)


def _is_utf8(body: bytes) -> bool:
    # msgspec does not look into the strings that it skips.
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


_NO_DETAILS = _Details()

READERS: dict[str, Callable[[bytes], Tokens | None]] = {
    CHAT: _read_choices,
    COMPLETIONS: _read_choices,
    EMBEDDINGS: _read_embeddings,
    GENERATE: _read_generated,
}
"""By endpoint: the tokens of a result; None when the body is none, whatever its status says."""
