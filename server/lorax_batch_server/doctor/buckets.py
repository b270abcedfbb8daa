"""Asks for the buckets that callers may name, in the way in which imports and exports reach them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError, ObjectStoreError
from lorax_batch_scheduler.objects.caller_buckets import S3CallerBuckets

from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong
from lorax_batch_server.settings import Settings
from lorax_batch_server.stores import caller_buckets

TIMEOUT_S: Final = 20.0


async def check_buckets(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found of each entry of `import_buckets` and `export_buckets`; nothing is written."""
    try:
        buckets = caller_buckets(settings)
    except ConfigurationError as error:
        yield wrong("callers' buckets", str(error), "correct it: the service does not start so")
        return
    for setting in ("import_buckets", "export_buckets"):
        for url in getattr(settings, setting):
            yield await _judge(buckets, setting, url)


async def _judge(buckets: S3CallerBuckets, setting: str, url: str) -> Finding:
    advice = f"correct this entry of {setting}, or have the bucket's policy changed: calls that name it fail until then"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await buckets.find(url)
    except (ConfigurationError, ObjectStoreError) as error:
        return wrong(setting, str(error), advice)
    except TimeoutError:
        return wrong(setting, f"{url}: no answer within {TIMEOUT_S:g} s", advice)
    if not found:
        return warning(setting, f"{url}: we may not list it; whether it is there can't be told", advice)
    return ok(setting, f"{url} is there")
