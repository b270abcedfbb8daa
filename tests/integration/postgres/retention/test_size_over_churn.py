"""PostgreSQL stays as small as what is kept: tables and indexes are measured over jobs that come, end and expire."""

from pathlib import Path

import asyncpg
import pytest
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres
from lorax_batch_scheduler.postgres.migrations import migrate
from lorax_batch_scheduler.removals import LATE_WRITES
from lorax_batch_scheduler.retention import RetentionPolicy

from tests.integration.postgres.conftest import Stores, open_stores
from tests.integration.postgres.retention.conftest import hasty_caretaker, hasty_removals
from tests.integration.postgres.retention.ended_job import DAY, age, ended_job
from tests.postgres_fixtures import TEST_SETTINGS

ROWS = 60
BATCH = 20
KEPT_BATCHES = 3
"""Policies keep what is younger than this many batches."""
GROWTH = 1.2
"""The target: no more than 20 % over 1,000 jobs."""
ANSWER = "word " * 100


class Churn:
    """Jobs that come, end and expire."""

    def __init__(self, stores: Stores, objects: DirectoryObjectStore) -> None:
        self._stores = stores
        self._objects = objects
        self._policy = RetentionPolicy(
            jobs=(KEPT_BATCHES - 0.5) * DAY,
            datasets=(KEPT_BATCHES - 0.5) * DAY,
            events=(KEPT_BATCHES - 0.5) * DAY,
            segments=DAY / 2,
        )
        self._caretaker = hasty_caretaker(stores, objects, self._policy)
        self._removals = hasty_removals(stores, objects)
        self._made = 0

    async def batch(self, jobs: int) -> None:
        """Let a day pass in which so many jobs end."""
        for _ in range(jobs):
            self._made += 1
            commits = [list(range(first, first + 20)) for first in range(1, ROWS, 20)]
            await ended_job(
                self._stores,
                self._objects,
                f"job_{self._made:024d}",
                f"ds_{self._made:024d}",
                commits=commits,
                text=ANSWER,
            )
        await age(self._stores, DAY)
        await self._caretaker.make_round()
        async with self._stores.database.connection() as connection:
            await connection.execute("UPDATE removals SET due = due - $1::interval", LATE_WRITES)
        while await self._removals.carry_out_due():
            pass

    async def vacuum(self) -> None:
        """Do what autovacuum does, now."""
        async with self._stores.database.connection() as connection:
            await connection.execute("VACUUM (ANALYZE)")

    async def sizes(self) -> dict[str, int]:
        """Return the bytes of every table with its indexes and what is stored out of line."""
        async with self._stores.database.connection() as connection:
            records = await connection.fetch(
                "SELECT relname, pg_total_relation_size(relid) AS size FROM pg_stat_user_tables"
                " WHERE schemaname = current_schema() ORDER BY 2 DESC"
            )
        return {record["relname"]: record["size"] for record in records}

    async def database_bytes(self) -> int:
        """Return what the whole database takes, PostgreSQL's own tables too."""
        async with self._stores.database.connection() as connection:
            size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
        return size


async def test_sizes_do_not_grow_with_the_number_of_jobs_that_were(
    stores: Stores, objects: DirectoryObjectStore
) -> None:
    churn = Churn(stores, objects)
    for _ in range(KEPT_BATCHES + 1):
        await churn.batch(4)
        await churn.vacuum()
    before = await churn.sizes()
    for _ in range(6):
        await churn.batch(4)
        await churn.vacuum()
    after = await churn.sizes()
    assert sum(after.values()) <= GROWTH * sum(before.values()), (before, after)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_thousand_jobs_later_the_database_is_as_large_as_after_a_hundred(
    postgres_directory: Path, objects: DirectoryObjectStore
) -> None:
    """PostgreSQL's own autovacuum sees to it, once a second: a day passes in two here."""
    server = EmbeddedPostgres(postgres_directory / "churn", settings={**TEST_SETTINGS, "autovacuum_naptime": "1s"})
    dsn = await server.start()
    try:
        connection = await asyncpg.connect(dsn)
        await migrate(connection)
        await connection.close()
        async with open_stores(dsn) as stores:
            churn = Churn(stores, objects)
            for _ in range(100 // BATCH):
                await churn.batch(BATCH)
            before, whole_before = await churn.sizes(), await churn.database_bytes()
            for _ in range(1_000 // BATCH):
                await churn.batch(BATCH)
            after, whole_after = await churn.sizes(), await churn.database_bytes()
    finally:
        await server.stop()
    assert sum(after.values()) <= GROWTH * sum(before.values()), (before, after)
    assert whole_after <= GROWTH * whole_before
