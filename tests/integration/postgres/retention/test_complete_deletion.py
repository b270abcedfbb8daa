"""Nothing is left of what was deleted, in whatever table: a table that is added is looked at too."""

from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.ports import UploadedPart
from lorax_batch_scheduler.ports.result_store import OutputProgress
from lorax_batch_scheduler.removals import LATE_WRITES, Removals
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.retention.remains import LATE_WATCHES, Remains
from lorax_batch_scheduler.webhooks.webhook import NewWebhook

from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.retention.conftest import MakeCaretaker
from tests.integration.postgres.retention.ended_job import DAY, age, ended_job


async def tables_that_name(stores: Stores, name: str) -> dict[str, int]:
    """Return how many rows of each table hold a text anywhere, in whatever column."""
    found = {}
    async with stores.database.connection() as connection:
        tables = await connection.fetch("SELECT relname FROM pg_stat_user_tables WHERE schemaname = current_schema()")
        for (table,) in tables:
            count = await connection.fetchval(f"SELECT count(*) FROM {table} AS t WHERE strpos(t::text, $1) > 0", name)
            if count:
                found[table] = count
    return found


async def tables_with(stores: Stores, column: str) -> set[str]:
    """Return the tables that have a column of that name."""
    async with stores.database.connection() as connection:
        found = await connection.fetch(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND column_name = $1",
            column,
        )
    return {record["table_name"] for record in found}


SMALL = [
    "INSERT INTO job_secrets (job_id, hf_token) VALUES ('job_1', 'hf_secret')",
    "INSERT INTO job_finalising VALUES ('job_1', NULL, 1, now())",
    "INSERT INTO schedulers VALUES ('one', now() + interval '1 hour')",
    "INSERT INTO job_activity VALUES ('job_1', 'one', 1, 0, 0, 0)",
    "INSERT INTO exports (export_id, job_id, destination, request_id) VALUES ('exp_1', 'job_1', 's3://b/x', 'again')",
    "INSERT INTO upload_parts VALUES ('ds_1', 0, 10, 'uploads/ds_1/0')",
    "INSERT INTO file_ranges VALUES ('job_1', 0, false, 1, 1, 1, 0, 10)",
    "INSERT INTO job_remains (job_id, due) VALUES ('job_1', now() + interval '1 hour')",
    "UPDATE jobs SET request_id = 'nightly job_1'",
]


async def used_everywhere(stores: Stores, objects: DirectoryObjectStore) -> None:
    """Make a job, and its dataset, with rows in every table that can have one: a table that is added has to be too."""
    progress = OutputProgress(key="k", upload_id="u", parts=[UploadedPart(number=1, size_bytes=5, token="t")])
    await ended_job(stores, objects)
    await stores.results.save_output_progress("job_1", error=False, progress=progress)
    await stores.webhooks.create_webhook(
        NewWebhook(
            webhook_id="wh_1", tenant="default", url="https://example.com", event_types=[], description="",
            secret="whsec_YQ==",
        )
    )  # fmt: skip
    async with stores.database.connection() as connection:
        for statement in SMALL:
            await connection.execute(statement)
        await connection.execute(
            "INSERT INTO webhook_messages (webhook_id, sequence, job_id, event_type, state, attempts)"
            " SELECT 'wh_1', sequence, job_id, 'job.queued', 'DELIVERED', 1 FROM job_events"
        )
    assert set(await tables_that_name(stores, "job_1")) >= await tables_with(stores, "job_id")
    assert set(await tables_that_name(stores, "ds_1")) >= await tables_with(stores, "dataset_id")
    async with stores.database.connection() as connection:
        # Written when the job is deleted, and when its segments are dropped.
        await connection.execute("DELETE FROM job_remains")
        await connection.execute("DELETE FROM file_ranges")


async def test_a_deleted_job_leaves_only_the_word_that_it_was_deleted(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals, remains: Remains
) -> None:
    await used_everywhere(stores, objects)
    await stores.jobs.delete_job("job_1")
    await remains.of("job_1")
    await removals.of("job_1")
    late = {"job_events", "job_remains", "removals", "webhook_messages"}
    assert set(await tables_that_name(stores, "job_1")) == late
    assert await tables_that_name(stores, "hf_secret") == await tables_that_name(stores, "exp_1") == {}
    assert [info.key async for info in objects.scan("results/")] == []
    await age(stores, LATE_WATCHES)
    await remains.sweep_due(limit=10)
    async with stores.database.connection() as connection:
        await connection.execute("UPDATE removals SET due = due - $1::interval", LATE_WRITES)
    await removals.carry_out_due()
    assert await tables_that_name(stores, "job_1") == {"job_events": 1}
    (told,) = await stores.jobs.state_changes(0, limit=10)
    assert (told.job_id, told.to_state, told.job) == ("job_1", None, None)


async def test_what_is_left_goes_with_the_events(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals, remains: Remains, caretaker: MakeCaretaker
) -> None:
    await used_everywhere(stores, objects)
    clean_up = caretaker(RetentionPolicy(jobs=DAY, datasets=DAY, events=2 * DAY, undelivered=0 * DAY))
    for _ in range(3):
        await age(stores, 2 * DAY)
        await clean_up.make_round()
        async with stores.database.connection() as connection:
            await connection.execute("UPDATE removals SET due = due - $1::interval", LATE_WRITES)
        await removals.carry_out_due()
    assert await tables_that_name(stores, "job_1") == {}
    assert await tables_that_name(stores, "ds_1") == {}
    assert [info.key async for info in objects.scan("")] == []


async def test_a_deleted_dataset_leaves_nothing(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals
) -> None:
    await ended_job(stores, objects, "job_1", "ds_1")
    await stores.datasets.delete_dataset("ds_1")
    await removals.of("ds_1")
    assert set(await tables_that_name(stores, "ds_1")) == {"jobs", "job_events", "removals"}, "the job remembers its id"
    assert [info.key async for info in objects.scan("datasets/")] == []


async def test_a_job_of_many_segments_goes_in_many_small_steps(
    stores: Stores, objects: DirectoryObjectStore, remains: Remains
) -> None:
    await ended_job(stores, objects, commits=[[line] for line in range(1, 251)])
    await stores.jobs.delete_job("job_1")
    assert await stores.retention.sweep_rows("job_1", limit=100) == 101
    assert (await tables_that_name(stores, "job_1"))["segments"] == 150
    assert await stores.jobs.state_changes(0, limit=1), "nothing of this is seen by callers"
    await remains.of("job_1")
    assert set(await tables_that_name(stores, "job_1")) == {"job_events", "job_remains", "removals"}


async def test_a_watch_that_was_away_is_told_the_whole_story_for_an_hour(
    stores: Stores, objects: DirectoryObjectStore, remains: Remains
) -> None:
    await ended_job(stores, objects, "job_1")
    await stores.queued_job("job_2")
    await stores.jobs.delete_job("job_1")
    await remains.of("job_1")
    before = await stores.jobs.state_changes(0, limit=10)
    assert [change.sequence for change in before] == [1, 2, 3, 4, 5]
    await age(stores, LATE_WATCHES)
    assert await remains.sweep_due(limit=10) == 1
    after = await stores.jobs.state_changes(0, limit=10)
    assert [(change.sequence, change.job_id) for change in after] == [(4, "job_2"), (5, "job_1")]
    await stores.jobs.move_job("job_2", JobEvent.PAUSE)
    assert [change.sequence for change in await stores.jobs.state_changes(5, limit=10)] == [6]
