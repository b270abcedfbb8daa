"""Opens what takes spans, as the settings say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.telemetry.tracing import NoTracer, Tracer

from lorax_batch_server.settings import Settings


@asynccontextmanager
async def open_tracer(settings: Settings) -> AsyncIterator[Tracer]:
    """Yield what takes spans; what it has not sent at the end it sends then.

    Raises:
        ConfigurationError: traces are asked for, but OpenTelemetry is not installed.
    """
    if settings.otlp_endpoint is None:
        yield NoTracer()
        return
    try:
        # Half a second that only those wait who want traces.
        from lorax_batch_server.otlp import OtlpTracer
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"otlp_endpoint is set, but {error.name} is not installed: pip install 'lorax-batch[otel]', "
            "or leave otlp_endpoint unset"
        ) from error
    tracer = OtlpTracer.open(settings.otlp_endpoint, settings.trace_ratio)
    try:
        yield tracer
    finally:
        await tracer.close()
