"""What may be read from callers' buckets, and what a caller is told when it may not, or is not there."""

import os
from typing import Any

import botocore.session
import pytest
from lorax_batch_scheduler.errors import ConfigurationError, InvalidInputError, ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.ingest.imports import ImportSources
from lorax_batch_scheduler.objects.caller_buckets import MAX_KEY_BYTES, S3CallerBuckets
from lorax_batch_scheduler.ports.caller_buckets import BucketNotAllowedError, BucketRefusedError

from tests.faults.proxy import Proxy
from tests.faults.refusing_server import RefusingServer
from tests.s3_fixtures import BUCKET, store_url_at

ROWS = os.urandom(3 << 20)
ODD_NAME = "in/März 2026/rows (1)+.jsonl"


@pytest.fixture
def options(moto_url: str, s3_credentials: None) -> str:
    store_url_at(moto_url)  # makes the bucket
    client: Any = botocore.session.get_session().create_client("s3", endpoint_url=moto_url, region_name="us-east-1")
    for key, body in ((ODD_NAME, ROWS), ("in/empty", b""), ("other/rows.jsonl", b"secret")):
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
    client.close()
    return f"?endpoint={moto_url}&region=us-east-1"


@pytest.fixture
def buckets(options: str) -> S3CallerBuckets:
    return S3CallerBuckets(imports=[f"s3://{BUCKET}/in/{options}"])


async def read(buckets: S3CallerBuckets, uri: str) -> bytes:
    return b"".join([block async for block in buckets.read(uri)])


async def test_an_object_of_any_name_is_read(buckets: S3CallerBuckets) -> None:
    uri = f"s3://{BUCKET}/{ODD_NAME}"
    assert await buckets.size_of(uri) == len(ROWS)
    assert await read(buckets, uri) == ROWS
    assert await read(buckets, f"s3://{BUCKET}/in/empty") == b""


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://{BUCKET}/other/rows.jsonl",
        f"s3://{BUCKET}/in/../other/rows.jsonl",
        f"s3://{BUCKET}/in/./x",
        f"s3://{BUCKET}/in//x",
        f"s3://{BUCKET}/in/a\nb",
        f"s3://{BUCKET}/in/" + "ü" * 600,
        "s3://elsewhere/in/x",
        "s3:///in/x",
        f"https://{BUCKET}/in/x",
        "/etc/passwd",
    ],
)
async def test_only_what_the_setting_names_is_read(buckets: S3CallerBuckets, uri: str) -> None:
    for call in (buckets.size_of(uri), read(buckets, uri)):
        with pytest.raises(BucketNotAllowedError, match="setting import_buckets"):
            await call


async def test_what_is_missing_is_told(buckets: S3CallerBuckets, options: str) -> None:
    with pytest.raises(InvalidInputError, match="there is no object"):
        await buckets.size_of(f"s3://{BUCKET}/in/missing")
    with pytest.raises(InvalidInputError, match="names no object"):
        await buckets.size_of(f"s3://{BUCKET}/in/")
    with pytest.raises(ObjectNotFoundError):
        await read(buckets, f"s3://{BUCKET}/in/missing")
    nowhere = S3CallerBuckets(imports=[f"s3://no-such-bucket{options}"])
    with pytest.raises(BucketRefusedError, match=r"NoSuchBucket.*setting import_buckets"):
        await read(nowhere, "s3://no-such-bucket/x")


async def test_a_bucket_that_refuses_us_says_which_setting(s3_credentials: None) -> None:
    with RefusingServer(403, "AccessDenied") as server:
        buckets = S3CallerBuckets(imports=[f"s3://theirs?endpoint=http://{server.address}"])
        for call in (buckets.size_of("s3://theirs/x"), read(buckets, "s3://theirs/x")):
            with pytest.raises(BucketRefusedError, match=r"403.*profile=NAME.*import_buckets"):
                await call


async def test_a_profile_that_there_is_not_is_named(options: str) -> None:
    buckets = S3CallerBuckets(imports=[f"s3://{BUCKET}/in/{options}&profile=nobody"])
    with pytest.raises(BucketRefusedError, match=r"profile.*nobody.*import_buckets"):
        await buckets.size_of(f"s3://{BUCKET}/in/empty")


async def test_a_broken_connection_is_gone_on_from(moto_url: str, options: str) -> None:
    with Proxy(moto_url) as proxy:
        buckets = S3CallerBuckets(imports=[f"s3://{BUCKET}/in/{options.replace(moto_url, proxy.url)}"])
        proxy.cut_after(1 << 20, 1 << 20)
        assert await read(buckets, f"s3://{BUCKET}/{ODD_NAME}") == ROWS
        assert proxy.hits.cut > 0


async def test_a_silent_store_is_trouble_that_may_pass(moto_url: str, options: str) -> None:
    with Proxy(moto_url) as proxy:
        proxy.black_hole()
        place = options.replace(moto_url, proxy.url)
        buckets = S3CallerBuckets(imports=[f"s3://{BUCKET}/in/{place}&silence_s=1"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lorax_batch_scheduler.objects.s3_client.ATTEMPTS", 1)
            with pytest.raises(ObjectStoreError) as caught:
                await buckets.size_of(f"s3://{BUCKET}/{ODD_NAME}")
        assert caught.value.retryable


def test_a_place_may_be_for_one_tenant() -> None:
    buckets = S3CallerBuckets(exports=["s3://b/acme?tenant=acme&region=eu-west-9", "s3://b/all"])
    for tenant in ("acme", None):
        assert buckets.check_destination("s3://b/acme/x", tenant=tenant) == "s3://b/acme/x/"
    assert buckets.check_destination("s3://b/all/x", tenant="globex") == "s3://b/all/x/"
    with pytest.raises(BucketNotAllowedError):
        buckets.check_destination("s3://b/acme/x", tenant="globex")


@pytest.mark.parametrize("options", ["tenant=", "tenant=A b", "tenant=a&tenant=b"])
def test_a_place_is_for_one_tenant_at_most(options: str) -> None:
    with pytest.raises(ConfigurationError, match="is not the name of one tenant"):
        S3CallerBuckets(imports=[f"s3://b?{options}"])


async def test_an_import_is_looked_for_among_the_places_of_its_tenant() -> None:
    sources = ImportSources([], S3CallerBuckets(imports=["s3://b/acme?tenant=acme"]), max_bytes=1)
    with pytest.raises(BucketNotAllowedError):
        await sources.resolve("s3://b/acme/rows.jsonl", "globex")


def test_a_destination_is_as_long_as_a_key_may_be_and_no_longer() -> None:
    buckets = S3CallerBuckets(imports=[], exports=["s3://theirs/out"])
    longest = MAX_KEY_BYTES - len("out//")
    assert buckets.check_destination("s3://theirs/out/" + "k" * longest)
    with pytest.raises(BucketNotAllowedError):
        buckets.check_destination("s3://theirs/out/" + "k" * (longest + 1))
