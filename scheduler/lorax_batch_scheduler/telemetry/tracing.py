"""Spans, told when they are over, and who takes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from lorax_batch_scheduler.telemetry.trace_context import TraceContext

Attribute = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that was done."""

    name: str
    context: TraceContext
    began: datetime
    ended: datetime
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    failed: bool = False


class Tracer(Protocol):
    """Takes spans."""

    @property
    def ratio(self) -> float:
        """The share of traces that are sampled when nobody has decided about them before; 0: no span is taken."""
        ...

    def record(self, span: Span) -> None:
        """Take a span of a sampled trace; returns at once, and loses spans rather than to hold anybody up."""
        ...


class NoTracer:
    """Where nothing is traced."""

    ratio = 0.0

    def record(self, span: Span) -> None:
        """Forget it."""
