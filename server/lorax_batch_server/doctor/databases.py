"""Asks the PostgreSQL that the settings name."""

import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.postgres.binaries import find_binaries
from lorax_batch_scheduler.postgres.checkup import read_database_facts
from lorax_batch_scheduler.postgres.embedded_address import embedded_dsn
from lorax_batch_scheduler.postgres.tls_dsn import with_tls

from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong
from lorax_batch_server.doctor.judge_database import judge_clock, judge_database
from lorax_batch_server.settings import Settings

DATABASE, DISK = "database", "disk"
LEAST_FREE_BYTES: Final = 2 << 30
LEAST_FREE_SHARE: Final = 0.05


async def check_database(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found; nothing is changed."""
    if settings.database_url is not None:
        try:
            given = with_tls(settings.database_url.get_secret_value(), settings.client_tls("database"))
        except ConfigurationError as error:
            yield wrong(DATABASE, str(error), "correct that file, or the setting")
            return
        async for finding in _check(given, "check database_url and the server"):
            yield finding
        return
    dsn = embedded_dsn(DataDirectory(settings.data_dir).postgres)
    if dsn is None:
        yield _check_binaries()
        return
    async for finding in _check(dsn, "a killed service may have left its traces: start it, and ask again"):
        yield finding


async def _check(dsn: str, advice: str) -> AsyncIterator[Finding]:
    before = datetime.now(UTC)
    try:
        facts = await read_database_facts(dsn)
    except (ConfigurationError, DatabaseError) as error:
        yield wrong(DATABASE, str(error), advice)
        return
    yield judge_clock(facts.now, before, datetime.now(UTC))
    for finding in judge_database(facts):
        yield finding


def _check_binaries() -> Finding:
    try:
        binaries = find_binaries()
    except ConfigurationError as error:
        return wrong(DATABASE, str(error), "install it, or give --database-url")
    return ok(DATABASE, f"the embedded PostgreSQL ({binaries.bin_dir}) does not run; it starts with the service")


def check_disk(settings: Settings) -> list[Finding]:
    """Return how much room the data directory has; nothing where nothing is kept in it."""
    if not settings.role.runs_jobs:
        return []
    path = settings.data_dir.expanduser().absolute()
    existing = next(each for each in (path, *path.parents) if each.is_dir())
    return [_room(path, existing)]


def _room(path: Path, existing: Path) -> Finding:
    if not os.access(existing, os.W_OK | os.X_OK):
        return wrong(DISK, f"'{existing}' can't be written", "choose another data_dir, or change its owner")
    usage = shutil.disk_usage(existing)
    told = f"{usage.free / 2**30:,.1f} of {usage.total / 2**30:,.1f} GiB are free for '{path}'"
    if usage.free < LEAST_FREE_BYTES or usage.free < LEAST_FREE_SHARE * usage.total:
        advice = "make room, or choose another data_dir: PostgreSQL and ingest stop when the disk is full"
        return warning(DISK, told, advice)
    return ok(DISK, told)
