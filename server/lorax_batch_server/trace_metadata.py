"""The caller's trace, as its metadata say."""

from typing import Any, Final

import grpc
from lorax_batch_scheduler.telemetry.trace_context import TraceContext

KEY: Final = "traceparent"
MAX_CHARACTERS: Final = 256


def caller_trace(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the `traceparent` of a call; "" for none, and for what is none: a trace never makes a call fail."""
    for key, value in context.invocation_metadata() or ():
        if key == KEY and isinstance(value, str) and len(value) <= MAX_CHARACTERS:
            return value if TraceContext.read(value) is not None else ""
    return ""
