"""Takes spans, and keeps them for the test."""

from lorax_batch_scheduler.telemetry.tracing import Span


class KeptSpans:
    """See `Tracer`."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.ratio = ratio
        self.spans: list[Span] = []

    def record(self, span: Span) -> None:
        self.spans.append(span)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]
