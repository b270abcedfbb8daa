"""Objects that no row names go when they were seen so for long enough, and nothing else does."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from lorax_batch_scheduler import collector as collector_module
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.collector import Collector, CollectorSettings, ForeignStoreError
from lorax_batch_scheduler.dataset import NewDataset
from lorax_batch_scheduler.errors import ObjectStoreError
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.postgres.collection_store import PostgresCollectionStore

from tests.integration.postgres.conftest import Stores

GRACE = timedelta(hours=24)
_ids = itertools.count(1)


class QuickClock(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture(params=["directory", "moto"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return f"file://{tmp_path}/objects"
    return str(request.getfixturevalue("moto_store_url"))


@pytest_asyncio.fixture
async def objects(store_url: str) -> AsyncIterator[ObjectStore]:
    async with open_object_store(store_url) as objects:
        yield objects


def make_collector(stores: Stores, objects: ObjectStore, *, interval: timedelta = timedelta(0)) -> Collector:
    return Collector(
        PostgresCollectionStore(stores.database),
        objects,
        clock=QuickClock(),
        new_id=lambda: str(next(_ids)),
        settings=CollectorSettings(interval=interval, grace=GRACE),
    )


@pytest.fixture
def collector(stores: Stores, objects: ObjectStore) -> Collector:
    return make_collector(stores, objects)


async def keys(objects: ObjectStore) -> list[str]:
    return [info.key async for info in objects.scan("") if info.key != "owner"]


async def put_all(objects: ObjectStore, *keys: str) -> None:
    for key in keys:
        await objects.put(key, b"x")


async def time_passes(stores: Stores) -> None:
    async with stores.database.connection() as connection:
        await connection.execute("UPDATE unnamed_objects SET first_seen = first_seen - $1::interval", GRACE)


NAMED = ("datasets/ds_1/1/pack-00000", "datasets/ds_half/7/pack-00000", "uploads/ds_up/00000000000000000000-1")
UNNAMED = (
    "checks/old",
    "datasets/ds_1/0/pack-00000",
    "datasets/ds_gone/1/pack-00000",
    "results/job_1/output.jsonl.old",
    "results/job_gone/output.jsonl",
    "uploads/ds_1/00000000000000000000-1",
    "uploads/ds_gone/00000000000000000000-1",
)


async def fill(stores: Stores, objects: ObjectStore) -> None:
    """Store a READY dataset, one in validation, one half uploaded, an ended job, and objects beyond what they name."""
    await stores.ready_dataset(3)
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_half", name="x", source_path="/somewhere"))
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_up", name="x"))
    await stores.queued_job()
    async with stores.database.connection() as connection:
        await connection.execute(
            """UPDATE jobs SET state = 'FAILED', outcome = 'FAILED', end_time = now(), result_count = 3, failed = 3,
            output_file = '{"key": "results/job_1/output.jsonl"}'"""
        )
    await put_all(objects, *NAMED, "results/job_1/output.jsonl", *UNNAMED, "elsewhere/by-hand")


KEPT = sorted([*NAMED, "results/job_1/output.jsonl", "elsewhere/by-hand"])


@pytest.mark.damages_database("its job was ended by hand")
async def test_what_no_row_names_goes_after_the_grace_and_the_rest_stays(
    stores: Stores, objects: ObjectStore, collector: Collector
) -> None:
    await fill(stores, objects)
    for deleted in (0, 0):
        assert await collector.collect() == deleted, "it was seen only just now"
    assert [each.key async for each in collector.unnamed()] == sorted(UNNAMED)
    await time_passes(stores)
    assert await collector.collect() == len(UNNAMED)
    assert await keys(objects) == KEPT
    assert [each async for each in collector.unnamed()] == []


async def test_unfinished_uploads_go_unless_somebody_may_finish_them(
    stores: Stores, objects: ObjectStore, collector: Collector
) -> None:
    await stores.ready_dataset(3)
    await stores.queued_job()
    await put_all(objects, NAMED[0])
    mine = await objects.start_upload("results/job_1/output.jsonl")
    others = [await objects.start_upload(key) for key in ("datasets/ds_1/1/pack-00000", "results/job_9/output.jsonl")]
    assert sorted([each.upload_id async for each in collector.unnamed()]) == sorted(others)
    await collector.collect()
    await time_passes(stores)
    assert await collector.collect() == 2
    assert [each.upload_id for each in await objects.unfinished_uploads("")] == [mine]
    assert await keys(objects) == [NAMED[0]]


async def test_a_dry_run_changes_nothing(stores: Stores, objects: ObjectStore, collector: Collector) -> None:
    await put_all(objects, *UNNAMED)
    assert len([each async for each in collector.unnamed()]) == len(UNNAMED)
    await time_passes(stores)
    assert await keys(objects) == sorted(UNNAMED)
    async with stores.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM unnamed_objects") == 0


async def test_a_store_of_another_database_is_not_touched(
    stores: Stores, objects: ObjectStore, collector: Collector
) -> None:
    await objects.put("owner", b"another")
    await put_all(objects, *UNNAMED)
    with pytest.raises(ForeignStoreError, match=r"belongs to database another.*lorax-batch store claim"):
        await collector.collect()
    with pytest.raises(ForeignStoreError):
        [each async for each in collector.unnamed()]
    await collector.claim_store()
    assert await collector.collect() == 0


async def test_an_empty_database_takes_no_store_in_use(
    stores: Stores, objects: ObjectStore, collector: Collector
) -> None:
    await put_all(objects, *UNNAMED)
    with pytest.raises(ForeignStoreError, match="names the first 7 of them"):
        await collector.collect()
    assert await keys(objects) == sorted(UNNAMED)


async def test_a_pass_goes_on_where_another_process_stopped(
    stores: Stores, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "PAGE_OBJECTS", 2)
    first, second = make_collector(stores, objects), make_collector(stores, objects, interval=timedelta(hours=1))
    await objects.put(NAMED[0], b"x")
    await stores.ready_dataset(3)
    await first.collect()
    await put_all(objects, *UNNAMED)
    asked: list[str] = []
    scan = objects.scan

    def breaking(prefix: str, *, after: str = "") -> AsyncIterator[object]:
        asked.append(after)
        if prefix == "results/" and len(asked) < 5:
            raise ObjectStoreError("away", retryable=True)
        return scan(prefix, after=after)

    with monkeypatch.context() as patch:
        patch.setattr(objects, "scan", breaking)
        with pytest.raises(ObjectStoreError):
            await first.collect()
        asked.clear()
        asked.extend([""] * 5)
        assert await second.collect() == 0
        assert asked[5:] == ["datasets/ds_gone/1/pack-00000"] * 4
    assert await first.collect() is None, "the next pass is an hour away"
    await time_passes(stores)
    assert await first.collect(at_once=True) == len(UNNAMED)
    assert await keys(objects) == [NAMED[0]]


async def test_one_process_at_a_time_looks(stores: Stores, objects: ObjectStore, collector: Collector) -> None:
    store = PostgresCollectionStore(stores.database)
    assert await store.claim_pass("other", lease=timedelta(minutes=1), at_once=False) is not None
    assert await collector.collect(at_once=True) is None
    async with stores.database.connection() as connection:
        await connection.execute("UPDATE store_collection SET lease_until = now() - interval '1 s'")
    assert await collector.collect() == 0
    assert not await store.advance_pass("other", cursor="x", lease=timedelta(minutes=1))
