"""A dataset comes from the caller's bucket, its results go back there, and links lead to them; all in S3."""

import asyncio
import hashlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import botocore.session
import pytest
from lorax_batch_client import (
    AsyncClient,
    Client,
    ClientError,
    DatasetState,
    Export,
    ExportState,
    Job,
    JobState,
    ResultKind,
)

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator
from tests.s3_fixtures import BUCKET, store_url_at

THEIRS = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def bucket(moto_url: str) -> Iterator[Any]:
    """Yield a client for the bucket, as a caller has one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        store_url_at(moto_url)  # makes the bucket
        client = botocore.session.get_session().create_client("s3", endpoint_url=moto_url, region_name="us-east-1")
        yield client
        client.close()


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], bucket: object, moto_url: str) -> Iterator[Service]:
    options = f"?endpoint={moto_url}&region=us-east-1"
    settings = (
        f'object_store = "{store_url_at(moto_url)}"\n'
        f'import_buckets = ["{THEIRS}/in{options}"]\n'
        f'export_buckets = ["{THEIRS}/out{options}"]\n'
    )
    with Simulator("--time-scale", "0") as simulator:
        yield serve(simulator.url, settings=settings)


def command(service: Service, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lorax_batch_server", *arguments, "--target", service.target],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_from_bucket_to_bucket(service: Service, client: Client, bucket: Any) -> None:
    rows = make_rows("bucket", 300)
    bucket.put_object(Bucket=BUCKET, Key="in/rows 1.jsonl", Body="".join(json.dumps(row) + "\n" for row in rows))
    imported = command(service, "datasets", "import", f"{THEIRS}/in/rows 1.jsonl", "--json")
    assert imported.returncode == 0, imported.stderr
    dataset = client.get_dataset("rows 1.jsonl")
    assert (dataset.state, dataset.row_count) == (DatasetState.READY, len(rows))

    job = client.create_job(dataset, base_model=MODEL)
    export = client.export_results(job, f"{THEIRS}/out/run-1")
    job = JobStory(client, job).finish()
    assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, len(rows))
    assert job.output_file is not None
    done = client.wait_for_export(export)
    assert (done.state, done.reason, done.written) == (ExportState.DONE, "", ("output.jsonl", "errors.jsonl"))
    exported = bucket.get_object(Bucket=BUCKET, Key="out/run-1/output.jsonl")["Body"].read()
    assert hashlib.sha256(exported).hexdigest() == job.output_file.sha256
    assert bucket.get_object(Bucket=BUCKET, Key="out/run-1/errors.jsonl")["Body"].read() == b""

    printed = command(service, "jobs", "link", job.job_id, "--lifetime", "10m")
    assert urllib.request.urlopen(printed.stdout.strip(), timeout=10).read() == exported
    errors = client.download_link(job, ResultKind.ERROR, lifetime=timedelta(minutes=1))
    assert urllib.request.urlopen(errors.url, timeout=10).read() == b""
    assert errors.url not in service.log.read_text()
    assert errors.url not in repr(errors)
    asyncio.run(check_async(service, job, done))


async def check_async(service: Service, job: Job, export: Export) -> None:
    """Check that the asynchronous client says the same."""
    async with AsyncClient(service.target) as client:
        assert await client.list_exports(job) == [export]
        assert await client.wait_for_export(export) == export
        again = await client.export_results(job, export.destination, request_id="again")
        assert await client.get_export(again.export_id) is not None
        assert (await client.download_link(job)).file == job.output_file


def test_what_is_not_allowed_is_refused_at_the_call(service: Service, client: Client, bucket: Any) -> None:
    refused = command(service, "datasets", "import", f"{THEIRS}/elsewhere/rows.jsonl")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "setting import_buckets" in refused.stderr
    missing = command(service, "datasets", "import", f"{THEIRS}/in/missing.jsonl")
    assert missing.returncode == 2
    assert "there is no object" in missing.stderr
    job = submit(client, make_rows("kept", 3)).finish()
    with pytest.raises(ClientError, match="setting export_buckets"):
        client.export_results(job, "s3://theirs/out")
