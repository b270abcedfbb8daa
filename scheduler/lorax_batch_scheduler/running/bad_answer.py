"""What came instead of a row's result: read once, then judged by `retry`."""

from dataclasses import dataclass
from typing import Any

import msgspec
from lorax.errors import (
    BadRequestError,
    GenerationError,
    IncompleteGenerationError,
    NotFoundError,
    OverloadedError,
    RateLimitExceededError,
    ShardNotReadyError,
    ShardTimeoutError,
    UnprocessableEntityError,
    ValidationError,
    parse_error,
)

from lorax_batch_scheduler.lorax_servers.connection import WireFault

MAX_MESSAGE_CHARACTERS = 2_000

CODES: dict[type[Exception], str] = {
    GenerationError: "generation_error",
    IncompleteGenerationError: "incomplete_generation",
    OverloadedError: "server_overloaded",
    ValidationError: "validation_error",
    BadRequestError: "bad_request",
    ShardNotReadyError: "shard_not_ready",
    ShardTimeoutError: "gateway_timeout",
    NotFoundError: "not_found",
    RateLimitExceededError: "rate_limit_exceeded",
    UnprocessableEntityError: "unprocessable_entity",
}
"""The codes of row errors for what lorax-client tells apart."""

LORAX_ERRORS = (GenerationError, IncompleteGenerationError, OverloadedError, ValidationError)
"""Told by LoRAX's own `error_type`, which says more than the status."""

TYPE_CODES = {
    "template_error": "template_error",
    "missing_template_variable": "missing_template_variable",
    "tool_error": "tool_error",
    "embedding_failure": "embedding_failure",
    "classification_failure": "classification_failure",
}
"""The codes for the error types of LoRAX that lorax-client does not know."""

STATUS_CODES = {401: "unauthorized", 403: "forbidden", 405: "method_not_allowed", 408: "request_timeout",
                409: "conflict", 413: "request_too_large", 415: "unsupported_media_type", 500: "server_error",
                502: "bad_gateway", 503: "service_unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BadAnswer:
    """An answer that is no result, or the way in which none came."""

    status: int = 0
    """HTTP status; 0: there was no answer, see `fault`."""
    content_type: str = ""
    error_type: str = ""
    """LoRAX's `error_type`, or an OpenAI-like server's `type` or `code`."""
    message: str = ""
    fault: WireFault | None = None
    retry_after_s: float | None = None

    @property
    def code(self) -> str:
        """Return the row error's code that fits when nothing more is known; stable, snake_case."""
        if self.fault is not None:
            return f"connection_{self.fault.lower()}" if self.fault in LOST else self.fault.lower()
        if self.status == 200 and not self.error_type:
            return "invalid_response"
        error = parse_error(self.status, {"error": self.message, "error_type": self.error_type})
        by_status = STATUS_CODES.get(self.status)
        if by_status is not None and not isinstance(error, LORAX_ERRORS):
            return TYPE_CODES.get(self.error_type, by_status)
        fallback = "server_error" if self.status >= 500 else "unexpected_status"
        return TYPE_CODES.get(self.error_type) or CODES.get(type(error), fallback)


LOST = frozenset({WireFault.REFUSED, WireFault.RESET, WireFault.CUT})


def read_bad_answer(status: int, content_type: bytes | None, body: bytes, retry_after_s: float | None) -> BadAnswer:
    """Read the error out of an answer in any of the shapes seen: LoRAX's JSON and text, OpenAI's, FastAPI's, HTML."""
    error_type, message = _read_json_error(body)
    if not message:
        message = body[: MAX_MESSAGE_CHARACTERS * 4].decode("utf-8", "replace").strip()
    return BadAnswer(
        status=status,
        content_type=(content_type or b"").decode("latin-1").partition(";")[0].strip().lower(),
        error_type=error_type,
        message=message[:MAX_MESSAGE_CHARACTERS] or f"the server answered status {status} without a body",
        retry_after_s=retry_after_s,
    )


def _read_json_error(body: bytes) -> tuple[str, str]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return "", ""
    error = value.get("error")
    if isinstance(error, dict):
        return _text(error.get("type")) or _text(error.get("code")), _text(error.get("message"))
    error_type = _text(value.get("error_type")) or _text(value.get("type"))
    return error_type, _text(error) or _text(value.get("message")) or _text(value.get("detail"))


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a server put into its JSON
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


FAULT_TEXTS = {
    WireFault.REFUSED: "no connection could be made",
    WireFault.RESET: "the connection was closed before the answer came",
    WireFault.CUT: "the connection was closed in the middle of the answer",
    WireFault.GARBAGE: "the answer is not HTTP",
    WireFault.TOO_LARGE: "the answer is too large",
    WireFault.TIMED_OUT: "no answer came in time",
    WireFault.STALLED: "the server stopped answering",
}


def describe_fault(fault: WireFault, detail: str) -> str:
    """Return what happened in words."""
    return f"{FAULT_TEXTS[fault]}: {detail}" if detail else FAULT_TEXTS[fault]
