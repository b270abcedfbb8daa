"""Asks the OpenTelemetry collector that the settings name, with the exporter that the service has."""

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec

from lorax_batch_scheduler.errors import ConfigurationError

from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong
from lorax_batch_server.settings import Settings

COLLECTOR = "collector"


async def check_collector(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found; nothing where no traces are asked for, or OpenTelemetry is not there, as is told before."""
    endpoint = settings.otlp_endpoint
    if endpoint is None or find_spec("opentelemetry") is None:
        return
    from lorax_batch_server.otlp import ask_collector

    try:
        trouble = await asyncio.to_thread(ask_collector, endpoint)
    except ConfigurationError as error:
        yield wrong(COLLECTOR, str(error), "correct that file, or the variable: the service does not start so")
        return
    if trouble:
        advice = "start it, or correct otlp_endpoint or OTEL_EXPORTER_OTLP_CERTIFICATE; spans are lost until it answers"
        yield warning(COLLECTOR, trouble, advice)
    else:
        yield ok(COLLECTOR, f"{endpoint} takes spans")
