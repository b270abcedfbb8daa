"""Backups of a service at work, restored after everything was lost."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_client import Client, Job, JobState

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.external_postgres import ExternalPostgres
from tests.processes import Service, Simulator

SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "8")
FAST = ("--time-scale", "0.001")
DONE_ROWS, HALF_ROWS = make_rows("done", 30, adapters=("", "org/a")), make_rows("half", 300, adapters=("", "org/b"))


@pytest.fixture
def folder(postgres_directory: Path, request: pytest.FixtureRequest) -> Path:
    """Return a folder that the services' PostgreSQL may pass through."""
    directory: Path = postgres_directory / request.node.name.replace("[", "-").rstrip("]")
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture
def postgres_of_others(folder: Path) -> Iterator[ExternalPostgres]:
    """Yield a PostgreSQL that is no service's own."""
    server = ExternalPostgres(folder / "postgres")
    server.start()
    yield server
    server.stop()


def test_an_embedded_service_is_restored_from_a_backup_that_was_taken_while_it_worked(folder: Path) -> None:
    with Simulator(*SLOW) as simulator, Service(_made(folder / "first"), simulator.url) as service:
        with service.client() as client:
            done, half, expected = _run_one_and_a_half(client, folder)
            with _frozen(simulator):
                assert client.get_job(half.job_id).state is JobState.RUNNING
                _command("backup", folder / "backup", "--data-dir", service.directory / "data")
        service.kill()
        service.wait_postgres_ended()
        shutil.rmtree(service.directory / "data")

    second = _made(folder / "second")
    told = _command("restore", folder / "backup", "--data-dir", second / "data")
    assert told["object_count"] >= 4
    with Simulator(*FAST) as simulator, Service(second, simulator.url) as service, service.client() as client:
        _check_restored(client, done, half.job_id, expected, folder)


def test_a_service_on_postgresql_and_s3_is_restored_to_another_database_and_bucket(
    folder: Path, postgres_of_others: ExternalPostgres, moto_store_url: str
) -> None:
    postgres_of_others.run("CREATE DATABASE one", "CREATE DATABASE two")
    # What the first service had is taken over when its lease, which comes with the backup, is over.
    (folder / "settings.toml").write_text("lease_s = 2", encoding="utf-8")
    first = (*_places(postgres_of_others, "one", moto_store_url), "--config", str(folder / "settings.toml"))
    with (
        Simulator(*SLOW) as simulator,
        Service(_made(folder / "first"), simulator.url, arguments=first) as service,
    ):
        with service.client() as client:
            done, half, expected = _run_one_and_a_half(client, folder)
            with _frozen(simulator):
                assert client.get_job(half.job_id).state is JobState.RUNNING
                _command("backup", folder / "backup", *first)
        service.kill()
    postgres_of_others.run("DROP DATABASE one WITH (FORCE)")

    second = _places(postgres_of_others, "two", moto_store_url.replace("/store?", "/other?"))
    _command("restore", folder / "backup", *second)
    with (
        Simulator(*FAST) as simulator,
        Service(_made(folder / "second"), simulator.url, arguments=second) as service,
        service.client() as client,
    ):
        _check_restored(client, done, half.job_id, expected, folder)


@contextmanager
def _frozen(simulator: Simulator) -> Iterator[None]:
    """Have it answer no row meanwhile: jobs stay where they are, with rows in flight."""
    os.kill(simulator.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(simulator.pid, signal.SIGCONT)


def _run_one_and_a_half(client: Client, folder: Path) -> tuple[Job, JobStory, dict[str, str]]:
    """Return a job that has ended, one at work, and the checksums of the first one's files."""
    done = submit(client, DONE_ROWS).finish()
    half = submit(client, HALF_ROWS)
    half.until_ended_rows(20)
    return done, half, _checksums(client, done, folder)


def _check_restored(client: Client, done: Job, half: str, expected: dict[str, str], folder: Path) -> None:
    """Check that nothing of the ended job has changed, and that the other one goes on to its end."""
    assert replace(client.get_job(done.job_id), progress=None) == replace(done, progress=None)
    assert _checksums(client, done, folder) == expected
    ended = poll_until(lambda: client.get_job(half), lambda job: job.is_terminal, timeout_s=60)
    assert ended.state is JobState.SUCCEEDED
    check_all_rows(download_files(client, ended, folder), HALF_ROWS)
    again = submit(client, HALF_ROWS[:3]).finish()
    assert again.counts.succeeded == 3


def _checksums(client: Client, job: Job, folder: Path) -> dict[str, str]:
    files = {name: folder / f"{name}.jsonl" for name in ("output", "errors")}
    client.download(job.job_id, files["output"], errors=files["errors"])
    checksums = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    for file in files.values():
        file.unlink()
    return checksums


def _places(server: ExternalPostgres, database: str, store: str) -> tuple[str, ...]:
    dsn = server.dsn.replace("/postgres?", f"/{database}?")
    return ("--database-url", dsn, "--object-store", store)


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o755)
    return directory


def _command(*arguments: object) -> Any:
    """Run a command, which must succeed, and return its one line of JSON."""
    command = [sys.executable, "-m", "lorax_batch_server", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
