"""Spans of work that belongs to no job: told inside the span of the caller who asked for it."""

from collections.abc import Mapping
from datetime import datetime

from lorax_batch_scheduler.telemetry.trace_context import TraceContext
from lorax_batch_scheduler.telemetry.tracing import Attribute, Span, Tracer


def tell_caller(
    tracer: Tracer,
    name: str,
    about: str,
    traceparent: str,
    *,
    began: datetime,
    ended: datetime,
    attributes: Mapping[str, Attribute],
    failed: bool = False,
) -> None:
    """Tell of work that is over; nothing where its caller sent no trace, or does not sample it.

    `about`: the id of what was made; `traceparent`: as the caller sent it.
    """
    caller = TraceContext.read(traceparent) if tracer.ratio else None
    if caller is not None and caller.sampled:
        context = caller.child(name, about)
        tracer.record(Span(name=name, context=context, began=began, ended=ended, attributes=attributes, failed=failed))
