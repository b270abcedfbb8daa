"""S3 servers for tests: moto as a subprocess, and a bucket on it for each test."""

import functools
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

BUCKET = "lorax-batch-tests"
_STOP_TIMEOUT_S = 10


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Yield the address of this worker's S3 server, started when the first test needs it (about 1 s)."""
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("moto_s3.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout
    port = int(server.stdout.readline())
    yield f"http://127.0.0.1:{port}"
    server.communicate(timeout=_STOP_TIMEOUT_S)


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the credentials that the test servers take, and hide those of the machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def moto_store_url(moto_url: str, s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an object store that nobody else uses."""
    # moto answers 500 where a real store says that there is no such upload: don't wait for it to recover.
    monkeypatch.setattr("lorax_batch_scheduler.objects.s3_client.ATTEMPTS", 1)
    return store_url_at(moto_url)


def store_url_at(endpoint: str) -> str:
    """Return the URL of a new place in the tests' bucket, which is made when the server has none yet."""
    _make_bucket(endpoint)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/store?endpoint={endpoint}&region=us-east-1"


@functools.cache  # a client takes a tenth of a second to make
def _make_bucket(endpoint: str) -> None:
    client: Any = botocore.session.get_session().create_client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.close()
