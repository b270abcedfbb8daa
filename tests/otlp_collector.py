"""An OpenTelemetry collector inside the test, that keeps the spans it is sent."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

Span = Any
"""opentelemetry.proto.trace.v1.Span, which has no types."""


@dataclass(slots=True)
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - named as the contract names it
        with self._news:
            for resource in request.resource_spans:
                self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
            self._news.notify_all()
        return pb.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Span]:
        """Return the spans of that name so far."""
        return [span for span in self.spans if span.name == name]

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Return as soon as it holds of the spans; fail when it does not in time."""
        with self._news:
            assert self._news.wait_for(holds, timeout_s), [span.name for span in self.spans]


@contextmanager
def otlp_collector() -> Iterator[Collector]:
    """Yield a collector that listens on a free port."""
    collector = Collector()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            server.stop(0).wait()


def facts(span: Span) -> dict[str, object]:
    """Return a span's attributes."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
