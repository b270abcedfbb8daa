"""PostgreSQL stays as small as what is kept: tables and indexes are measured over jobs that come, end and expire."""

from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.removals import LATE_WRITES
from lorax_batch_scheduler.retention import RetentionPolicy

from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.retention.conftest import hasty_caretaker, hasty_removals
from tests.integration.postgres.retention.ended_job import DAY, age, ended_job

ROWS = 60
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


async def test_sizes_do_not_grow_with_the_number_of_jobs_that_were(
    stores: Stores, objects: DirectoryObjectStore
) -> None:
    churn = Churn(stores, objects)
    for _ in range(KEPT_BATCHES + 2):
        await churn.batch(5)
        await churn.vacuum()
    before = await churn.sizes()
    for _ in range(10):
        await churn.batch(5)
        await churn.vacuum()
    after = await churn.sizes()
    assert sum(after.values()) <= GROWTH * sum(before.values()), (before, after)
