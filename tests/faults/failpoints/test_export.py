"""The service dies at every step of copying a job's files into a caller's bucket, and of clearing its own store."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client, Export, ExportState
from lorax_batch_scheduler.failpoints import VARIABLE
from lorax_batch_scheduler.objects.s3 import S3ObjectStore
from lorax_batch_scheduler.objects.s3_location import parse_s3_location
from lorax_batch_scheduler.objects.urls import open_object_store

from tests.end_to_end.rows import make_rows
from tests.faults.failpoints.conftest import SETTINGS
from tests.faults.failpoints.crash import Place, run_cancelled_job
from tests.faults.failpoints.test_ending import long_rows
from tests.processes import Service, Simulator
from tests.s3_fixtures import store_url_at

pytestmark = pytest.mark.timeout(240)

EXPORT = (
    "export.after_create",
    "export.after_put",
    "export.after_part",
    "export.after_complete",
    "export.after_end",
)
COLLECT = ("collect.before_delete", "collect.after_delete", "collect.before_advance")
POINTS = (*EXPORT, *COLLECT)
ORPHAN = "datasets/ds_gone/1/pack-00000"


@pytest.fixture(scope="module")
def theirs(moto_url: str) -> Iterator[str]:
    """Yield the setting that allows a place in a bucket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield store_url_at(moto_url)


@pytest.fixture(scope="module")
def place(postgres_directory: Path, simulator: Simulator, theirs: str) -> Iterator[Place]:
    """Yield a service that may write there, which does not run."""
    directory = postgres_directory / "failpoints-export"
    directory.mkdir(mode=0o755)
    config = directory / "settings.toml"
    config.write_text(f'{SETTINGS}export_buckets = ["{theirs}"]\n', encoding="utf-8")
    service = Service(directory, simulator.url, arguments=("--config", str(config)))
    yield Place(service=service, store_url=str(directory / "data" / "objects"))
    service.close()
    service.wait_postgres_ended()


def test_an_export_is_whole_through_deaths_at_every_step(place: Place, theirs: str) -> None:
    """Both files are in the caller's bucket in the end, byte by byte, and no unfinished upload is."""
    run = run_cancelled_job(long_rows(14_000), "export")

    def export(client: Client) -> tuple[Export, dict[str, bytes]]:
        job = run(client)
        made = client.export_results(job, theirs.partition("?")[0] + "/out", request_id="export-1")
        done = client.wait_for_export(made, poll_seconds=0.05)
        errors = asyncio.run(_read(place.store_url, f"results/{job.job_id}/errors.jsonl"))
        return done, {"out/errors.jsonl": errors, "out/output.jsonl": b""}

    done, files = place.through_deaths(EXPORT, export)
    assert (done.state, done.reason) == (ExportState.DONE, "")
    assert asyncio.run(_exported(theirs)) == files
    place.service.end()


def test_what_no_row_names_goes_through_deaths(place: Place) -> None:
    """`store collect` goes on where it was killed, and deletes what has had no name for long enough; nothing else."""
    place.service.start()
    with place.service.client() as client:
        client.wait_for_dataset(client.upload_dataset(make_rows("collect", 20), request_id="collect"))
    place.service.stop()
    asyncio.run(_put(place.store_url, ORPHAN))
    listed = collect(place, "--dry-run", "--json").stdout.splitlines()
    assert [json.loads(line)["key"] for line in listed] == [ORPHAN]
    for point in COLLECT:
        assert collect(place, "--grace", "0", failpoint=f"{point}=kill").returncode == -signal.SIGKILL
    left = collect(place, "--grace", "0")
    assert (left.returncode, left.stdout) == (0, b"deleted 0 objects\n"), left.stderr
    assert collect(place, "--dry-run").stdout == b""
    place.service.start()
    place.check_rest()


def collect(place: Place, *arguments: str, failpoint: str = "") -> "subprocess.CompletedProcess[bytes]":
    """Run the command on the data directory of the service, which does not run."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "lorax_batch_server",
            "store",
            "collect",
            "--data-dir",
            str(place.service.directory / "data"),
            *arguments,
        ],
        env={**os.environ, VARIABLE: failpoint},
        capture_output=True,
        timeout=60,
    )


async def _read(url: str, key: str) -> bytes:
    async with open_object_store(url) as store:
        return await store.get(key)


async def _put(url: str, key: str) -> None:
    async with open_object_store(url) as store:
        await store.put(key, b"x")


async def _exported(theirs: str) -> dict[str, bytes]:
    async with S3ObjectStore(parse_s3_location(theirs, what="test")) as store:
        assert await store.unfinished_uploads("") == []
        return {info.key: await store.get(info.key) async for info in store.scan("")}
