"""Two API processes and three schedulers on one PostgreSQL and one S3: each is killed in its turn."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from lorax_batch_client import JobState

from tests.end_to_end.busy_callers import busy_callers
from tests.end_to_end.job_story import submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.replicas import Replicas
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(180)

SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "16")
TAKE_OVER_S = 10.0


@pytest.fixture
def replicas(database: str, moto_store_url: str, tmp_path: Path) -> Iterator[Replicas]:
    """Yield what starts processes on a database of the test's own and an S3."""
    replicas = Replicas(tmp_path, database, moto_store_url)
    yield replicas
    replicas.close()


def test_each_replica_is_killed_in_turn_while_callers_upload_watch_and_read(replicas: Replicas, tmp_path: Path) -> None:
    """Whoever dies, callers who know both API processes lose nothing and get nothing twice."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two, Simulator(*SLOW) as three:
        apis = [replicas.make("api") for _ in range(2)]
        schedulers = [replicas.make("scheduler", simulator.url) for simulator in (one, two, three)]
        # The first dies in the middle of an upload, all others wherever they are.
        apis[0].begin("upload.after_part=kill@3")
        for service in (apis[1], *schedulers):
            service.begin()
        for service in (*apis, *schedulers):
            service.wait_ready()
        with busy_callers(",".join(api.target for api in apis), tmp_path) as callers:
            apis[0].wait_killed()
            apis[0].begin()
            for service in schedulers:
                callers.wait_steps(3)
                kill_and_start(service)
            apis[0].wait_ready()
            callers.wait_steps(3)
            kill_and_start(apis[1])
            schedulers[2].wait_ready()
            callers.wait_steps(3)
        assert callers.jobs >= 3
        assert apis[0].fired() == ["upload.after_part"]
        for service in (*schedulers, *apis):
            service.wait_ready()
            assert service.stop() == 0


def kill_and_start(service: Service) -> None:
    service.kill()
    service.begin()


def test_a_dead_scheduler_and_planner_is_followed_within_ten_seconds_by_default(
    replicas: Replicas, database: str, tmp_path: Path
) -> None:
    """With the default lease, its rows run elsewhere and the turn to plan is taken, though it died in its turn."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        api = replicas.make("api")
        api.begin()
        successor = replicas.prepare("scheduler", two.url, lease_s=None)
        in_its_turn = f"plan.after_take_turn=hold:{tmp_path / 'never'}"
        dying = replicas.start("scheduler", one.url, failpoints=in_its_turn, lease_s=None)
        api.wait_ready()
        rows = make_rows("orphaned", 900)  # one chunk
        with api.client() as client:
            poll_until(dying.fired, lambda names: names == ["plan.after_take_turn"])
            story = submit(client, rows)
            story.until_ended_rows(50)
            replicas.let_go(successor)
            planner = ask(database, "SELECT scheduler_id FROM planning_turn")
            dying.kill()
            killed_at = time.monotonic()
            stored = client.get_job(story.job_id).counts.ended
            assert two.ask("stats")["rows_received"] == 0
            poll_until(lambda: ask(database, "SELECT scheduler_id FROM planning_turn"), lambda name: name != planner)
            planned_s = time.monotonic() - killed_at
            story.until(lambda job: job.counts.ended > stored)
            ran_s = time.monotonic() - killed_at
            print(f"a planner after {planned_s:.1f} s, rows after {ran_s:.1f} s")
            assert max(planned_s, ran_s) < TAKE_OVER_S
            job = story.finish()
            assert job.state is JobState.SUCCEEDED
            check_all_rows(download_files(client, job, tmp_path), rows)


def ask(dsn: str, query: str) -> object:
    """Return what a query finds."""

    async def fetch() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())
