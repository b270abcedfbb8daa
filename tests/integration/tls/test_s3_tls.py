"""S3 behind TLS: an authority of one's own, and client certificates."""

import uuid
from contextlib import AsyncExitStack

import pytest
from lorax_batch_scheduler.errors import ConfigurationError, ObjectStoreError
from lorax_batch_scheduler.objects.caller_buckets import S3CallerBuckets
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.tls.client_tls import ClientTls

from tests.certificates import Authority, write_anew
from tests.integration.tls.conftest import tls_of
from tests.s3_fixtures import BUCKET, store_url_at
from tests.tls_proxy import tls_before


async def trouble_of(store_url: str, tls: ClientTls | None) -> str:
    """Return why a store can't be used."""
    with pytest.raises(ObjectStoreError) as caught:
        async with open_object_store(store_url, tls=tls):
            pass
    return str(caught.value)


async def test_objects_are_kept_over_tls_and_with_a_client_certificate(
    authority: Authority, moto_store_url: str, moto_url: str
) -> None:
    tls = tls_of("object_store", ca=authority.file, own=authority.issue("mine"))
    async with (
        tls_before(moto_url, authority.issue(), client_ca=authority.file) as url,
        open_object_store(moto_store_url.replace(moto_url, url), tls=tls) as store,
    ):
        assert await store.create("key", b"data")
        assert await store.get("key") == b"data"


async def test_a_store_that_does_not_fit_is_told_with_the_setting(
    authority: Authority, other: Authority, moto_store_url: str, moto_url: str
) -> None:
    async with tls_before(moto_url, authority.issue()) as url:
        for tls in (None, tls_of("object_store", ca=other.file)):
            assert "set object_store_ca to" in await trouble_of(moto_store_url.replace(moto_url, url), tls)
    trusted = tls_of("object_store", ca=authority.file)
    async with tls_before(moto_url, authority.issue(hosts=["elsewhere.example"])) as url:
        assert "for another name" in await trouble_of(moto_store_url.replace(moto_url, url), trusted)
    async with tls_before(moto_url, authority.issue(days=(-9, -1))) as url:
        assert "have its certificate renewed" in await trouble_of(moto_store_url.replace(moto_url, url), trusted)
    async with tls_before(moto_url, authority.issue(), client_ca=authority.file) as url:
        assert "set object_store_cert and" in await trouble_of(moto_store_url.replace(moto_url, url), trusted)


async def test_new_files_count_from_the_next_connection_on(
    authority: Authority, other: Authority, moto_store_url: str, moto_url: str
) -> None:
    trusted = authority.file.with_name("trusted.pem")
    write_anew(trusted, other.file.read_bytes())
    mine = other.issue("mine")
    tls = tls_of("object_store", ca=trusted, own=mine)
    async with AsyncExitStack() as stack:
        async with tls_before(moto_url, other.issue(), client_ca=other.file) as url:
            port = int(url.rpartition(":")[2])
            store = await stack.enter_async_context(open_object_store(moto_store_url.replace(moto_url, url), tls=tls))
        write_anew(trusted, authority.file.read_bytes())
        assert authority.issue("mine") == mine
        async with tls_before(moto_url, authority.issue(), client_ca=authority.file, port=port):
            await store.put("key", b"new files")
        write_anew(trusted, b"")
        async with tls_before(moto_url, authority.issue(), client_ca=authority.file, port=port):
            assert await store.get("key") == b"new files", "what can't be used changes nothing"


async def test_callers_buckets_are_reached_with_files_of_their_own(
    authority: Authority, moto_url: str, s3_credentials: None
) -> None:
    store_url_at(moto_url)
    async with tls_before(moto_url, authority.issue(), client_ca=authority.file) as url:
        place = f"s3://{BUCKET}/theirs/{uuid.uuid4().hex}?endpoint={url}&region=us-east-1"
        uri = place.partition("?")[0] + "/"
        own = tls_of("bucket", ca=authority.file, own=authority.issue("mine"))
        buckets = S3CallerBuckets(imports=[place], exports=[place], others_tls=own)
        async with buckets.open_destination(uri) as destination:
            await destination.put("rows", b"theirs")
        assert await buckets.size_of(f"{uri}rows") == len(b"theirs")
        assert [block async for block in buckets.read(f"{uri}rows")] == [b"theirs"]
        with pytest.raises(ObjectStoreError, match="set bucket_ca to"):
            await S3CallerBuckets(imports=[place]).size_of(f"{uri}rows")


def test_files_for_a_directory_are_refused(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match="object_store_ca is set, but object store '/x' is a directory"):
        open_object_store("/x", tls=tls_of("object_store", ca=authority.file))


def test_files_for_an_endpoint_without_tls_are_refused(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match="object_store_ca is set, but endpoint=http://x of the object store"):
        open_object_store("s3://b/p?endpoint=http://x", tls=tls_of("object_store", ca=authority.file))
