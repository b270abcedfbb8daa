"""The object stores that all must behave alike: a directory, moto's S3, and a real server where one is named."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectStore, UploadedPart

from tests.s3_fixtures import store_url_at

PART = os.urandom(1 << 20) * 5


@pytest.fixture(params=["directory", "moto", pytest.param("server", marks=pytest.mark.s3_server)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return f"file://{tmp_path}/objects"
    if request.param == "moto":
        return str(request.getfixturevalue("moto_store_url"))
    request.getfixturevalue("s3_credentials")
    return store_url_at(os.environ["LORAX_BATCH_TEST_S3"])


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[ObjectStore]:
    async with open_object_store(store_url) as opened:
        yield opened


async def keys_below(store: ObjectStore, prefix: str) -> list[str]:
    return [info.key async for info in store.scan(prefix)]


async def upload(store: ObjectStore, key: str, *blocks: bytes) -> tuple[str, list[UploadedPart]]:
    upload_id = await store.start_upload(key)
    return upload_id, [
        await store.upload_part(key, upload_id, number, block) for number, block in enumerate(blocks, start=1)
    ]
