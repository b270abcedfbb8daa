"""Chunks of jobs: bit sets that agree with their counts, leases with one live owner."""

from collections.abc import Iterator

from lorax_batch_scheduler.postgres.bits import from_varbit

from tests.invariants.snapshot import Row, Snapshot


def chunk_problems(snapshot: Snapshot) -> Iterator[str]:
    alive = {row["scheduler_id"] for row in snapshot.schedulers}
    for chunk in snapshot.job_chunks:
        yield from _bits(chunk)
        owner = chunk["scheduler_id"]
        if owner is not None and owner not in alive:
            yield f"{_name(chunk)} is leased to {owner}, which is no scheduler"
        if owner is not None and chunk["done_count"] == chunk["row_count"]:
            yield f"{_name(chunk)} is done, but leased to {owner}"
        if owner is not None and chunk["epoch"] == 0:
            yield f"{_name(chunk)} is leased to {owner} in epoch 0: nothing fences it"


def _bits(chunk: Row) -> Iterator[str]:
    done, unsuccessful = from_varbit(chunk["done"]), from_varbit(chunk["unsuccessful"])
    rows = chunk["row_count"]
    if done.bit_count() != chunk["done_count"]:
        yield f"{_name(chunk)} says that {chunk['done_count']} rows are done, but marks {done.bit_count()}"
    if done >> rows:
        yield f"{_name(chunk)} marks rows as done behind its {rows} rows"
    if unsuccessful & ~done:
        yield f"{_name(chunk)} marks rows as without success that have no result"
    if not len(chunk["done"]) == len(chunk["unsuccessful"]) == (rows + 7) // 8 * 8:
        yield f"{_name(chunk)} has bit sets of {len(chunk['done'])} and {len(chunk['unsuccessful'])} for {rows} rows"


def _name(chunk: Row) -> str:
    return f"chunk {chunk['chunk_no']} of job {chunk['job_id']}"
