"""The Prometheus listener."""

import socket
import urllib.request

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.metrics import ApiMetrics, MetricsListener
from prometheus_client import CollectorRegistry


def test_metrics_are_served_until_the_listener_stops() -> None:
    registry = CollectorRegistry()
    ApiMetrics(registry).sent_results(7)
    listener = MetricsListener.start(registry, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{listener.port}/metrics", timeout=5) as answer:
            assert b"lorax_batch_result_bytes_sent_total 7.0" in answer.read()
    finally:
        listener.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", listener.port), timeout=5)


def test_a_taken_port_is_told_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{port}.*--metrics-port"):
            MetricsListener.start(CollectorRegistry(), "127.0.0.1", port)
