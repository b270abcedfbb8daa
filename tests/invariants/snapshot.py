"""All that the invariants speak of, read from the database in one moment."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
from lorax_batch_scheduler.job import TERMINAL_STATES

Row = asyncpg.Record
_TABLES = {
    "datasets": "dataset_no",
    "upload_parts": "dataset_id, first_byte",
    "dataset_chunks": "dataset_id, chunk_no",
    "jobs": "job_no",
    "job_chunks": "job_id, chunk_no",
    "segments": "job_id, first_offset",
    "file_ranges": "job_id, first_offset",
    "job_outputs": "job_id, error",
    "job_events": "sequence",
    "schedulers": "scheduler_id",
    "event_clock": "sequence",
    "event_horizon": "sequence",
    "job_remains": "job_id",
}
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The rows of each table, in the order of their keys."""

    datasets: list[Row]
    upload_parts: list[Row]
    dataset_chunks: list[Row]
    jobs: list[Row]
    job_chunks: list[Row]
    segments: list[Row]
    file_ranges: list[Row]
    job_outputs: list[Row]
    job_events: list[Row]
    schedulers: list[Row]
    event_clock: list[Row]
    event_horizon: list[Row]
    job_remains: list[Row]


async def read_snapshot(dsn: str) -> Snapshot:
    """Read a database as it is at one moment; whoever works on it goes on meanwhile."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    try:
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=str, decoder=msgspec.json.decode, format="text"
        )
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = {
                table: await connection.fetch(f"SELECT * FROM {table} ORDER BY {key}") for table, key in _TABLES.items()
            }
    finally:
        await connection.close()
    return Snapshot(**rows)


def by(rows: Iterable[Row], column: str) -> dict[Any, list[Row]]:
    """Group rows by a column; one that nobody has gives an empty list."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    return groups


def has_ended(job: Row) -> bool:
    return job["state"] in TERMINAL_STATES
