"""The service dies at each step of deleting what has expired; the next life goes on with it."""

import asyncio

import asyncpg
import pytest
from lorax_batch_client import Client
from lorax_batch_client.errors import NotFoundError

from tests.end_to_end.poll import poll_until
from tests.end_to_end.rows import make_rows
from tests.faults.failpoints.crash import Place, run_cancelled_job

pytestmark = pytest.mark.timeout(240)

POINTS = (
    "compact.after_ranges",
    "compact.after_drop",
    "retention.after_job",
    "retention.after_datasets",
    "retention.after_events",
    "sweep.after_rows",
)
AT_ONCE_DAYS = "0.000001"


def test_what_has_expired_is_gone_through_deaths_at_every_step(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job, its dataset and its events expire once, wholly, though the service dies at each step of that."""
    place.service.start()
    with place.service.client() as client:
        job = run_cancelled_job(make_rows("retention", 20), "retention")(client)
    place.check_rest()
    monkeypatch.setenv("LORAX_BATCH_RETENTION_SEGMENTS_S", "0")
    for kind in ("JOBS", "DATASETS", "EVENTS"):
        monkeypatch.setenv(f"LORAX_BATCH_RETENTION_{kind}_DAYS", AT_ONCE_DAYS)

    def is_gone(client: Client) -> bool:
        try:
            client.get_job(job.job_id)
        except NotFoundError:
            return True
        return False

    place.through_deaths(POINTS, lambda client: poll_until(lambda: is_gone(client), bool))
    poll_until(lambda: asyncio.run(rows_left(place.service.dsn, job.job_id, job.dataset_id)), lambda left: not left)
    place.check_rest()


async def rows_left(dsn: str, job_id: str, dataset_id: str) -> dict[str, int]:
    """Return the tables that hold more of a job than that it was deleted."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = ("jobs", "job_chunks", "segments", "file_ranges", "job_outputs", "datasets", "dataset_chunks")
        counts = {
            table: await connection.fetchval(
                f"SELECT count(*) FROM {table} AS t WHERE strpos(t::text, $1) > 0 OR strpos(t::text, $2) > 0",
                job_id,
                dataset_id,
            )
            for table in tables
        }
        return {table: count for table, count in counts.items() if count}
    finally:
        await connection.close()
