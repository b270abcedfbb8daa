"""Sends spans to an OpenTelemetry collector; the only module that knows OpenTelemetry, imported only when asked for."""

import asyncio
import threading
from importlib.metadata import version
from typing import Final, Self
from urllib.parse import urlsplit

from lorax_batch_scheduler.telemetry.trace_context import TraceContext
from lorax_batch_scheduler.telemetry.tracing import Span
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

EXPORT_TIMEOUT_S: Final = 5.0
CLOSE_S: Final = 3.0
"""How long the end of the process waits for a collector that does not answer."""
QUEUED_SPANS: Final = 4_096
"""Beyond it the oldest are lost."""
INTERVAL_MS: Final = 1_000
SCOPE: Final = InstrumentationScope("lorax_batch", version("lorax-batch"))


class OtlpTracer:
    """See `Tracer`. What else the exporter takes (headers, certificates) it reads from `OTEL_EXPORTER_OTLP_*`.

    *Resources*: a thread and a connection, until `close`.
    """

    def __init__(self, exporter: OTLPSpanExporter, ratio: float, close_s: float) -> None:
        self.ratio = ratio
        self._close_s = close_s
        self._exporter = exporter
        self._processor = BatchSpanProcessor(exporter, QUEUED_SPANS, INTERVAL_MS)
        # Adds what OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say.
        self._resource = Resource.create({"service.name": "lorax-batch", "service.version": version("lorax-batch")})

    @classmethod
    def open(cls, endpoint: str, ratio: float, *, close_s: float = CLOSE_S) -> Self:
        """Send to a collector at `http://HOST:PORT` or, with TLS, `https://HOST:PORT`."""
        scheme = urlsplit(endpoint).scheme
        return cls(OTLPSpanExporter(endpoint, insecure=scheme == "http", timeout=EXPORT_TIMEOUT_S), ratio, close_s)

    def record(self, span: Span) -> None:
        context = span.context
        parent = _span_context(context, context.parent_id, is_remote=True) if context.parent_id else None
        self._processor.on_end(
            ReadableSpan(
                span.name,
                context=_span_context(context, context.span_id),
                parent=parent,
                resource=self._resource,
                attributes=dict(span.attributes),
                kind=SpanKind.CLIENT if span.name == "row" else SpanKind.INTERNAL,
                status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
                start_time=int(span.began.timestamp() * 1e9),
                end_time=int(span.ended.timestamp() * 1e9),
                instrumentation_scope=SCOPE,
            )
        )

    async def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        give_up = threading.Timer(self._close_s, self._exporter.shutdown)
        give_up.start()
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it out
        give_up.cancel()
        give_up.join()


def _span_context(context: TraceContext, span_id: str, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=flags)
