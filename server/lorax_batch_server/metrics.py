"""What Prometheus can ask of the API, and the listener it asks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self
from wsgiref.simple_server import WSGIServer

from lorax_batch_scheduler.errors import ConfigurationError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ApiMetrics:
    """Metrics of the gRPC side."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("lorax_batch_grpc_calls", "Calls that ended.", ["method", "code"], registry=registry)
        self._seconds = Histogram(
            "lorax_batch_grpc_call_seconds", "Duration of unary calls.", ["method"], buckets=_SECONDS, registry=registry
        )
        self._open = Gauge("lorax_batch_grpc_open_calls", "Calls that are open.", ["method"], registry=registry)
        self._watchers = Gauge("lorax_batch_watchers", "Watches that are open.", registry=registry)
        self._result_bytes = Counter("lorax_batch_result_bytes_sent", "Bytes of results sent.", registry=registry)
        self._upload_bytes = Counter("lorax_batch_upload_bytes_received", "Bytes of datasets taken.", registry=registry)

        self._database = Gauge("lorax_batch_database_up", "1 while PostgreSQL can be used.", registry=registry)
        self._database.set(1)

    def database_is(self, *, works: bool) -> None:
        """Say whether PostgreSQL can be used."""
        self._database.set(works)

    def call_began(self, method: str) -> None:
        """Count a call as open."""
        self._open.labels(method).inc()

    def call_ended(self, method: str, code: str, seconds: float, *, unary: bool) -> None:
        """Count a call as ended; how long a stream was open says nothing, so it is left out."""
        self._open.labels(method).dec()
        self._calls.labels(method, code).inc()
        if unary:
            self._seconds.labels(method).observe(seconds)

    @contextmanager
    def watcher(self) -> Iterator[None]:
        """Count a watch while it is open."""
        with self._watchers.track_inprogress():
            yield

    def sent_results(self, byte_count: int) -> None:
        """Count bytes of results."""
        self._result_bytes.inc(byte_count)

    def received_upload(self, byte_count: int) -> None:
        """Count bytes of datasets."""
        self._upload_bytes.inc(byte_count)


class MetricsListener:
    """Answers `GET /metrics` in a thread of its own, so that a busy event loop can still be looked at."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @classmethod
    def start(cls, registry: CollectorRegistry, host: str, port: int) -> Self:
        """Listen; port 0 takes a free one.

        Raises:
            ConfigurationError: the address can't be listened on.
        """
        try:
            server, thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise ConfigurationError(
                f"metrics can't be served on {host}:{port}: {error.strerror}; choose another port with "
                "--metrics-port, or another address with metrics_host (LORAX_BATCH_METRICS_HOST)"
            ) from error
        return cls(server, thread)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_port)

    def stop(self) -> None:
        """Stop listening; takes up to half a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
