"""Spans on their way to a collector."""

import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.telemetry.trace_context import TraceContext, of_job
from lorax_batch_scheduler.telemetry.tracing import Attribute, Span
from lorax_batch_server.otlp import EXPORT_TIMEOUT_S, OtlpTracer
from lorax_batch_server.settings import load_settings
from lorax_batch_server.tracer import open_tracer

from tests.otlp_collector import facts, otlp_collector

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=1.5)


def span(context: TraceContext, *, failed: bool = False) -> Span:
    attributes: dict[str, Attribute] = {"rows": 7, "model": "m", "share": 0.5, "last": True}
    return Span(name="chunk", context=context, began=BEGAN, ended=ENDED, attributes=attributes, failed=failed)


async def test_a_span_arrives_as_it_was_told() -> None:
    context = of_job("job_1", f"00-{'1' * 32}-{'2' * 16}-01")
    with otlp_collector() as collector:
        async with open_tracer(load_settings(otlp_endpoint=collector.endpoint)) as tracer:
            tracer.record(span(context, failed=True))
        (arrived,) = collector.spans
    assert arrived.trace_id.hex() == "1" * 32
    assert arrived.parent_span_id.hex() == "2" * 16
    assert arrived.span_id.hex() == context.span_id
    assert arrived.end_time_unix_nano - arrived.start_time_unix_nano == 1_500_000_000
    assert facts(arrived) == {"rows": 7, "model": "m", "share": 0.5, "last": True}
    assert arrived.status.code == 2


async def test_a_span_of_a_trace_that_is_not_sampled_stays_here() -> None:
    with otlp_collector() as collector:
        async with open_tracer(load_settings(otlp_endpoint=collector.endpoint)) as tracer:
            tracer.record(span(TraceContext(trace_id="1" * 32, span_id="2" * 16, sampled=False)))
        assert collector.spans == []


@pytest.mark.filterwarnings("default")
async def test_a_collector_that_is_away_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    tracer = OtlpTracer.open(endpoint, 1.0, close_s=0.2)
    began = time.monotonic()
    for number in range(10_000):
        tracer.record(span(of_job(f"job_{number}", "")))
    assert time.monotonic() - began < EXPORT_TIMEOUT_S, "spans are dropped, not waited for"
    await tracer.close()
    assert time.monotonic() - began < 2 * EXPORT_TIMEOUT_S


async def test_traces_without_opentelemetry_are_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lorax_batch_server.otlp", None)
    settings = load_settings(otlp_endpoint="http://localhost:4317")
    with pytest.raises(ConfigurationError, match=r"otlp_endpoint is set.*lorax-batch\[otel\]"):
        async with open_tracer(settings):
            pass


@pytest.mark.parametrize("endpoint", ["localhost:4317", "ftp://x:1", "http://x:1/v1/traces"])
def test_an_endpoint_that_can_be_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="otlp_endpoint"):
        load_settings(otlp_endpoint=endpoint)
