"""Rows of PostgreSQL as the values of our domain."""

import asyncpg
import msgspec

from lorax_batch_scheduler.dataset import ChunkKind, Dataset
from lorax_batch_scheduler.job import Counts, Job
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.postgres.bits import from_varbit


def to_dataset(record: asyncpg.Record) -> Dataset:
    """Read a row of `datasets`."""
    return msgspec.convert(dict(record), Dataset)


def to_job(record: asyncpg.Record) -> Job:
    """Read a row of `job_details`; what schedulers say of rows in flight never exceeds the rows that are left."""
    fields = dict(record)
    left = fields["total"] - fields["result_count"]
    in_flight = min(fields.pop("in_flight") or 0, left)
    retrying = min(fields.pop("retrying") or 0, left - in_flight)
    fields["counts"] = Counts(
        total=fields["total"],
        pending=left - in_flight - retrying,
        in_flight=in_flight,
        retrying=retrying,
        succeeded=fields["succeeded"],
        failed=fields["failed"],
        cancelled=fields["cancelled"],
        expired=fields["expired"],
        invalid=fields["invalid"],
    )
    fields["rows_per_second"] = fields["rows_per_second"] or 0.0
    fields["tokens_per_second"] = fields["tokens_per_second"] or 0.0
    return msgspec.convert(fields, Job)


def to_leased_chunk(record: asyncpg.Record) -> LeasedChunk:
    """Read a row of `claim_chunks` or `fence_job`."""
    return LeasedChunk(
        job_id=record["job_id"],
        chunk_no=record["chunk_no"],
        epoch=record["epoch"],
        kind=ChunkKind(record["kind"]),
        endpoint=record["endpoint"],
        model=record["model"],
        adapter_source=record["adapter_source"],
        row_count=record["row_count"],
        done=from_varbit(record["done"]),
        pack_key=pack_key(record["storage_prefix"], record["pack"]),
        offset=record["pack_offset"],
        byte_count=record["byte_count"],
    )


def pack_key(storage_prefix: str, pack: int) -> str:
    """Return the key of the object that holds a pack of chunks."""
    return f"{storage_prefix}pack-{pack:05d}"
