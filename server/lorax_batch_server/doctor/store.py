"""Writes, reads and deletes a probe object, and compares the store's clock with ours."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
from lorax_batch_scheduler.errors import ConfigurationError, InvalidInputError, ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.tls.client_tls import ClientTls

from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong
from lorax_batch_server.settings import Settings

STORE, CLOCK = "object store", "object store clock"
TIMEOUT_S: Final = 20.0
MAX_SKEW_S: Final = 60.0
REFUSED_SKEW_S: Final = 900.0
"""S3 refuses what was signed longer ago, or later, than this."""
_PROBE: Final = b"written by lorax-batch doctor; may be deleted"


async def check_store(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found of the store that the settings name."""
    url = settings.object_store
    if url is None:
        folder = DataDirectory(settings.data_dir).objects
        if not folder.is_dir():
            yield ok(STORE, f"'{folder}' is made by the first start")
            return
        url = str(folder)
    try:
        tls = settings.client_tls("object_store")
    except ConfigurationError:
        return  # told of the files
    yield await _try(url, tls)
    address = clock_address(url)
    if address is not None:
        yield await _check_clock(address, tls)


async def _try(url: str, tls: ClientTls) -> Finding:
    advice = "check object_store, the bucket, and that the credentials may put, get, list and delete objects"
    try:
        async with asyncio.timeout(TIMEOUT_S), open_object_store(url, tls=tls) as store:
            return await _probe(store)
    except (ConfigurationError, ObjectStoreError, InvalidInputError, OSError) as error:
        return wrong(STORE, str(error), advice)
    except TimeoutError:
        return wrong(STORE, f"it did not take, give and delete an object within {TIMEOUT_S:g} s", advice)


async def _probe(store: ObjectStore) -> Finding:
    key = f"doctor/probe-{secrets.token_hex(8)}"
    await store.put(key, _PROBE)
    try:
        read = await store.get(key)
    finally:
        await store.delete(key)
    if read != _PROBE:
        return wrong(STORE, "it gave other bytes than were written", "this is no store to keep results in: replace it")
    try:
        await store.head(key)
    except ObjectNotFoundError:
        return ok(STORE, "an object was written, read and deleted")
    return warning(STORE, f"'{key}' is still there after it was deleted", "let deletes take effect at once")


def clock_address(url: str) -> str | None:
    """Return whom to ask for the time: the S3 endpoint; None for a directory."""
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return None
    options = parse_qs(parts.query)
    region = options.get("region", ["us-east-1"])[0]
    return options.get("endpoint", [f"https://s3.{region}.amazonaws.com"])[0]


async def _check_clock(address: str, tls: ClientTls) -> Finding:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.head(address, ssl=tls.context() if tls else True) as answer,
        ):
            theirs = parsedate_to_datetime(answer.headers["Date"])
    except (aiohttp.ClientError, OSError, TimeoutError, KeyError, ValueError):
        return ok(CLOCK, f"{address} does not tell the time")
    return judge_store_clock(theirs, datetime.now(UTC))


def judge_store_clock(theirs: datetime, ours: datetime) -> Finding:
    """Compare clocks; a store tells full seconds only."""
    skew_s = abs((ours - theirs).total_seconds())
    message = f"this machine's clock is {skew_s:,.0f} s off the store's"
    advice = "run NTP (chrony, systemd-timesyncd) here: S3 refuses requests that are 15 minutes off"
    if skew_s > REFUSED_SKEW_S:
        return wrong(CLOCK, message, advice)
    return warning(CLOCK, message, advice) if skew_s > MAX_SKEW_S else ok(CLOCK, message)
