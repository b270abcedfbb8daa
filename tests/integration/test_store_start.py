"""A store that can't be used is told of when the service starts, with the setting and what to change."""

from pathlib import Path
from typing import Any

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.objects.caller_buckets import S3CallerBuckets
from lorax_batch_scheduler.objects.s3_location import parse_s3_location
from lorax_batch_server.role import Role
from lorax_batch_server.settings import load_settings
from lorax_batch_server.stores import open_stores

from tests.faults.refusing_server import RefusingServer
from tests.s3_fixtures import BUCKET, store_url_at

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
"""The store is opened first."""


@pytest.fixture(autouse=True)
def _one_attempt(s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorax_batch_scheduler.objects.s3_client.ATTEMPTS", 1)


async def start(url: str) -> str:
    """Return why a service can't start on a store."""
    settings = load_settings(role=Role.API, database_url=NOWHERE, object_store=url)
    with pytest.raises(ConfigurationError) as caught:
        async with open_stores(settings):
            pass
    assert "check --object-store (LORAX_BATCH_OBJECT_STORE)" in str(caught.value)
    return str(caught.value)


async def test_a_bucket_that_does_not_exist(moto_url: str) -> None:
    told = await start(f"s3://no-such-bucket?endpoint={moto_url}")
    assert "there is no bucket 'no-such-bucket': create it, or correct the name, or endpoint=URL" in told


@pytest.mark.parametrize(
    ("status", "code", "allowed", "message"),
    [
        (403, "InvalidAccessKeyId", (), "so that the bucket can't be reached: check AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", ("HEAD",), "so that the bucket can't be written: check AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", ("HEAD", "PUT"), "so that the bucket can't be deleted from"),
        (400, "AuthorizationHeaderMalformed", ("HEAD",), "is not in region eu-west-9; give its own as region=NAME"),
        (301, "PermanentRedirect", (), "redirects to somewhere else: give the URL that it leads to"),
        (405, "MethodNotAllowed", (), "is no S3"),
        (404, "NoSuchBucket", ("HEAD",), "there is no bucket 'b'"),
        (503, "SlowDown", (), "SlowDown"),
    ],
)
async def test_a_store_that_says_no(status: int, code: str, allowed: tuple[str, ...], message: str) -> None:
    with RefusingServer(status, code, allowed=allowed) as server:
        told = await start(f"s3://b/p?endpoint=http://{server.address}&region=eu-west-9")
    assert message in told or (code == "SlowDown" and "503" in told)


async def test_an_endpoint_where_nobody_listens(moto_url: str) -> None:
    assert "can't be reached" in await start("s3://b?endpoint=http://127.0.0.1:1&silence_s=1")


async def test_a_profile_that_there_is_not(moto_url: str) -> None:
    assert "nobody" in await start(f"s3://b?endpoint={moto_url}&profile=nobody")


async def test_missing_credentials(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "no S3 credentials: set AWS_ACCESS_KEY_ID" in await start(f"s3://b?endpoint={moto_url}")


async def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "file/store" in await start(str(tmp_path / "file" / "store"))


@pytest.mark.parametrize("setting", ["import_buckets", "export_buckets"])
@pytest.mark.parametrize(
    ("value", "message"),
    [("https://b/x", "does not begin with s3://"), ("s3://", "is not a bucket"), ("s3://b?regin=x", "'regin'")],
)
def test_an_allow_list_is_checked_when_it_is_read(setting: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"setting {setting}.*{message}"):
        load_settings(None, **{setting: [value]})


@pytest.mark.parametrize("setting", ["import_buckets", "export_buckets"])
@pytest.mark.parametrize("prefix", ["", "p", "p/jobs"])
async def test_callers_are_not_let_into_the_store_itself(moto_url: str, setting: str, prefix: str) -> None:
    store_url_at(moto_url)  # makes the bucket
    own = f"s3://{BUCKET}/p?endpoint={moto_url}&region=us-east-1"
    listed: dict[str, Any] = {setting: [f"s3://{BUCKET}/{prefix}?endpoint={moto_url}/"]}
    settings = load_settings(role=Role.API, database_url=NOWHERE, object_store=own, **listed)
    with pytest.raises(ConfigurationError, match=f"setting {setting} allows .* give each a prefix of its own"):
        async with open_stores(settings):
            pass


@pytest.mark.parametrize("place", ["s3://b/pp", "s3://b/q", "s3://other/p", "s3://b/p?endpoint=http://elsewhere"])
def test_what_lies_beside_the_store_may_be_allowed(place: str) -> None:
    S3CallerBuckets(imports=[place], own=parse_s3_location("s3://b/p", what="object store"))
