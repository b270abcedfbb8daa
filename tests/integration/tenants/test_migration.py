"""What was there before tenants belongs to the first one, and processes of the version before go on."""

import asyncpg
from lorax_batch_scheduler.postgres.migrations import migrate, shipped_migrations

_DATASET = """
INSERT INTO datasets (dataset_id, name, state, on_invalid, source_path, request_id)
VALUES ($1, 'rows', 'UPLOADING', 'FAIL', NULL, $2) ON CONFLICT (request_id) DO NOTHING RETURNING dataset_id
"""
_JOB = """
INSERT INTO jobs (job_id, dataset_id, request_id, server_config, base_model_id, base_model_aliases, state, priority,
                  labels, error_threshold, default_max_tokens, price_micros_per_million)
VALUES ($1, 'ds_1', $2, '{}', 'm', '{}', 'QUEUED', 0, '{}', 0, 1, 0)
ON CONFLICT (request_id) DO NOTHING RETURNING job_id
"""
_EVENT = """
INSERT INTO job_events (sequence, job_id, from_state, to_state, reason, job)
VALUES ($1, 'job_1', NULL, 'QUEUED', '', NULL)
"""


async def test_what_was_there_is_the_first_tenants(empty_database: str) -> None:
    shipped = shipped_migrations()
    before = [each for each in shipped if each.version < _version("create_tenants")]
    connection = await asyncpg.connect(empty_database)
    try:
        await migrate(connection, before)
        await connection.execute(_DATASET, "ds_1", "file")
        await connection.execute(_JOB, "job_1", "nightly")
        await connection.execute(_EVENT, 1)
        await migrate(connection)
        for table in ("datasets", "jobs", "job_events"):
            assert [row["tenant"] for row in await connection.fetch(f"SELECT tenant FROM {table}")] == ["default"]
        # The statements of the version before, as its processes may still send them.
        assert await connection.fetchval(_DATASET, "ds_2", "file") is None
        assert await connection.fetchval(_JOB, "job_2", "nightly") is None
        assert await connection.fetchval(_JOB, "job_3", "other") == "job_3"
        await connection.execute(_EVENT, 2)
    finally:
        await connection.close()


def _version(name: str) -> int:
    return next(each.version for each in shipped_migrations() if each.name == name)
