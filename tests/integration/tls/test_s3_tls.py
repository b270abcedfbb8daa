"""S3 behind TLS: an authority of one's own, and client certificates."""

import pytest
from lorax_batch_scheduler.errors import ConfigurationError, ObjectStoreError
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.tls.client_tls import ClientTls

from tests.certificates import Authority
from tests.integration.tls.conftest import tls_of
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


def test_files_for_a_directory_are_refused(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match="object_store_ca is set, but object store '/x' is a directory"):
        open_object_store("/x", tls=tls_of("object_store", ca=authority.file))
