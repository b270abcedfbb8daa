"""Sends spans to an OpenTelemetry collector; the only module that knows OpenTelemetry, imported only when asked for."""

import asyncio
import logging
import os
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from lorax_batch_scheduler.telemetry.trace_context import TraceContext
from lorax_batch_scheduler.telemetry.tracing import Span
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.tls.pem_file import PemFile
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

EXPORT_TIMEOUT_S: Final = 5.0
CLOSE_S: Final = 3.0
"""How long the end of the process waits for a collector that does not answer."""
QUEUED_SPANS: Final = 4_096
"""Beyond it the oldest are lost."""
INTERVAL_MS: Final = 1_000
_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")
_FILES: Final = {"ca": "CERTIFICATE", "cert": "CLIENT_CERTIFICATE", "key": "CLIENT_KEY"}
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
        """Send to a collector at `http://HOST:PORT` or, with TLS, `https://HOST:PORT`.

        Raises:
            ConfigurationError: a file that one of the exporter's own variables names can't be used.
        """
        return cls(_exporter(endpoint), ratio, close_s)

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


def ask_collector(endpoint: str) -> str:
    """Send a message without spans, as spans are sent; return what is wrong, "" when it was taken.

    Raises:
        ConfigurationError: as of `OtlpTracer.open`.
    """
    exporter, said = _exporter(endpoint), _LastWords()
    log = logging.getLogger(type(exporter).__mro__[1].__module__)
    log.addHandler(said)
    try:
        taken = exporter.export([]) is SpanExportResult.SUCCESS
    finally:
        log.removeHandler(said)
        exporter.shutdown()
    return "" if taken else said.text


class _LastWords(logging.Handler):
    """The exporter says why it failed in the log alone."""

    text = "it takes no spans"

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _exporter(endpoint: str) -> OTLPSpanExporter:
    secure = urlsplit(endpoint).scheme == "https"
    if secure:
        _check_files()
    return OTLPSpanExporter(endpoint, insecure=not secure, timeout=EXPORT_TIMEOUT_S)


def _check_files() -> None:
    """Check the files that the exporter reads; where one can't be read, it would go on without."""
    for prefix in _VARIABLES:
        files = {
            name: PemFile(setting=prefix + variable, path=Path(os.environ[prefix + variable]))
            for name, variable in _FILES.items()
            if os.environ.get(prefix + variable)
        }
        ClientTls(ca=files.get("ca"), cert=files.get("cert"), key=files.get("key")).check()


def _span_context(context: TraceContext, span_id: str, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=flags)
