"""All checks, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec

from lorax_batch_server.doctor.buckets import check_buckets
from lorax_batch_server.doctor.certificates import check_certificates
from lorax_batch_server.doctor.collector import check_collector
from lorax_batch_server.doctor.databases import check_database, check_disk
from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong
from lorax_batch_server.doctor.servers import check_servers
from lorax_batch_server.doctor.start_checks import check_start
from lorax_batch_server.doctor.store import check_store
from lorax_batch_server.settings import Settings, unknown_variables

CONFIGURATION = "configuration"


async def examine(settings: Settings, environment: Mapping[str, str], known: frozenset[str]) -> AsyncIterator[Finding]:
    """Yield findings as they come; `known` are variables of ours that are no settings."""
    for finding in _check_configuration(settings, environment, known):
        yield finding
    for finding in check_start(settings):
        yield finding
    for finding in check_certificates(settings):
        yield finding
    for finding in await asyncio.to_thread(check_disk, settings):
        yield finding
    parts = (
        check_database(settings),
        check_store(settings),
        check_buckets(settings),
        check_servers(settings),
        check_collector(settings),
    )
    for part in parts:
        async for finding in part:
            yield finding


def _check_configuration(settings: Settings, environment: Mapping[str, str], known: frozenset[str]) -> list[Finding]:
    found = [
        warning(CONFIGURATION, f"variable {name} is no setting and has no effect", "correct its name, or remove it")
        for name in unknown_variables(environment, known)
    ]
    if settings.otlp_endpoint is not None and find_spec("opentelemetry") is None:
        advice = "pip install 'lorax-batch[otel]', or leave otlp_endpoint unset"
        found.append(wrong(CONFIGURATION, "otlp_endpoint is set, but OpenTelemetry is not installed", advice))
    return found or [ok(CONFIGURATION, f"role {settings.role}")]
