"""A rolling upgrade with a migration in the middle: two versions side by side, one process after the other."""

import shutil
from importlib import resources
from pathlib import Path

import pytest
from lorax_batch_scheduler.postgres.migrations import DIRECTORY_VARIABLE, shipped_migrations

from tests.end_to_end.busy_callers import busy_callers
from tests.faults.replicas import Replicas, log_lines
from tests.faults.replicas import replicas as replicas
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(180)

SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "16")
OURS = len(shipped_migrations())
NEXT = """\
ALTER TABLE jobs ADD COLUMN next_version text NOT NULL DEFAULT '';
ALTER TABLE job_chunks ADD COLUMN next_version integer NOT NULL DEFAULT 0;
ALTER TABLE datasets ADD COLUMN next_version timestamptz;
ALTER TABLE schedulers ADD COLUMN next_version boolean;
CREATE INDEX next_version_of_jobs ON jobs (next_version) WHERE end_time IS NULL;
CREATE TABLE next_version (job_id text PRIMARY KEY REFERENCES jobs ON DELETE CASCADE);
"""
"""What the next version might bring: other columns than the statements of this one were prepared for."""


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """Return the migrations of the next version; this one can live with its last one."""
    folder = tmp_path / "migrations"
    shutil.copytree(Path(str(resources.files("lorax_batch_scheduler.postgres") / "migrations")), folder)
    (folder / f"{OURS + 1:04}_next.sql").write_text(f"-- oldest program: {OURS:04}\n{NEXT}", encoding="utf-8")
    return folder


def test_processes_are_upgraded_one_by_one_under_callers_who_notice_nothing(
    replicas: Replicas, next_version: Path, tmp_path: Path
) -> None:
    """The first new process migrates; old ones go on, and may even start again, until each has been replaced."""
    with Simulator(*SLOW) as one, Simulator(*SLOW) as two:
        apis = [replicas.make("api") for _ in range(2)]
        schedulers = [replicas.make("scheduler", simulator.url) for simulator in (one, two)]
        for service in (*apis, *schedulers):
            service.begin()
        for service in (*apis, *schedulers):
            service.wait_ready()
        with busy_callers(",".join(api.target for api in apis), tmp_path) as callers:
            callers.wait_steps(3)
            upgrade(schedulers[0], next_version)
            assert [line["versions"] for line in replicas.logged("schema_migrated")] == [[OURS + 1]]
            callers.wait_steps(3)
            # One of the old version dies for a reason of its own, and is started again by whoever supervises it.
            schedulers[1].kill()
            schedulers[1].start()
            assert [(line["schema"], line["program"]) for line in replicas.logged("schema_is_newer")] == [
                (OURS + 1, OURS)
            ]
            for service in (apis[0], schedulers[1], apis[1]):
                callers.wait_steps(2)
                upgrade(service, next_version)
            callers.wait_steps(3)
        assert replicas.logged("service_failed") == []
        assert len(replicas.logged("schema_is_newer")) == 1
        for service in (*schedulers, *apis):
            assert service.stop() == 0


def upgrade(service: Service, migrations: Path) -> None:
    """Stop a process, which drains, and start that of the next version in its place."""
    assert service.stop() == 0
    service.environment[DIRECTORY_VARIABLE] = str(migrations)
    service.start()


def test_an_older_program_refuses_a_schema_that_it_could_not_use(replicas: Replicas, next_version: Path) -> None:
    """It says what it knows, what it would have to know, and what to do; the newer one is not disturbed."""
    (next_version / f"{OURS + 1:04}_next.sql").write_text(NEXT, encoding="utf-8")
    newer, older = replicas.make("api"), replicas.make("scheduler")
    newer.environment[DIRECTORY_VARIABLE] = str(next_version)
    newer.start()
    older.begin()
    assert older.wait_ended() == 2
    said = older.log.read_text(encoding="utf-8")
    assert f"schema version {OURS + 1}, but this lorax-batch knows versions up to {OURS}" in said
    assert "--database-url" in said
    assert "Traceback" not in said
    assert not any(line["event"] == "stopped" for line in log_lines(newer))
    assert newer.stop() == 0
