"""Objects that were given up are deleted, whatever dies in between, and nothing else is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import InvalidReport, NewDataset
from lorax_batch_scheduler.errors import ObjectStoreError
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.removals import LATE_WRITES, Removals

from tests.integration.postgres.conftest import Stores


@pytest_asyncio.fixture
async def objects(tmp_path: Path) -> AsyncIterator[DirectoryObjectStore]:
    async with DirectoryObjectStore(tmp_path / "objects") as objects:
        yield objects


@pytest.fixture
def removals(stores: Stores, objects: DirectoryObjectStore) -> Removals:
    return Removals(stores.removals, objects, clock=SystemClock())


async def put_all(objects: DirectoryObjectStore, *keys: str) -> None:
    for key in keys:
        await objects.put(key, b"x")


async def keys(objects: DirectoryObjectStore) -> list[str]:
    return [info.key async for info in objects.scan("")]


async def time_passes(stores: Stores) -> None:
    async with stores.database.connection() as connection:
        await connection.execute("UPDATE removals SET due = due - $1::interval", LATE_WRITES)


async def test_a_ready_dataset_keeps_the_attempt_that_counts(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals
) -> None:
    upload = await objects.start_upload("datasets/ds_1/2/pack-00000")
    await put_all(objects, "uploads/ds_1/0-1", "datasets/ds_1/1/pack-00000", "datasets/ds_1/0/pack-00000")
    await put_all(objects, "uploads/ds_2/0-1", "datasets/ds_2/1/pack-00000", "datasets/ds_11/1/pack-00000")
    await stores.ready_dataset(3)
    await removals.carry_out_due()
    assert await keys(objects) == [
        "datasets/ds_1/1/pack-00000",
        "datasets/ds_11/1/pack-00000",
        "datasets/ds_2/1/pack-00000",
        "uploads/ds_2/0-1",
    ]
    assert upload not in [each.upload_id for each in await objects.unfinished_uploads("")]


async def test_a_failed_dataset_keeps_nothing(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals
) -> None:
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_1", name="rows", source_path="/somewhere"))
    await put_all(objects, "uploads/ds_1/0-1", "datasets/ds_1/1/pack-00000")
    async with stores.claimed("ds_1") as scheduler_id:
        await stores.datasets.fail_ingest("ds_1", "bad", InvalidReport(), None, scheduler_id=scheduler_id)
    await removals.carry_out_due()
    assert await keys(objects) == []


async def test_what_arrives_late_is_deleted_later_and_then_it_is_over(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals
) -> None:
    await stores.ready_dataset(3)
    await stores.datasets.delete_dataset("ds_1")
    await removals.of("ds_1")
    await put_all(objects, "uploads/ds_1/0-1", "datasets/ds_1/late/pack-00000")
    assert await removals.carry_out_due() == 0, "it is not due yet"
    await time_passes(stores)
    assert await removals.carry_out_due() == 2
    assert await keys(objects) == []
    await time_passes(stores)
    assert await removals.carry_out_due() == 0


async def test_a_dataset_that_is_deleted_before_its_late_removal_loses_what_that_would_have_kept(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals
) -> None:
    await put_all(objects, "datasets/ds_1/1/pack-00000")
    await stores.ready_dataset(3)
    await removals.carry_out_due()
    assert await keys(objects) == ["datasets/ds_1/1/pack-00000"]
    await stores.datasets.delete_dataset("ds_1")
    await removals.carry_out_due()
    assert await keys(objects) == []


async def test_a_store_that_is_away_puts_it_off(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_all(objects, "datasets/ds_1/0/pack-00000")
    await stores.ready_dataset(3)

    async def away(prefix: str, *, keep: str = "") -> int:
        raise ObjectStoreError("the store is down", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(objects, "delete_prefix", away)
        await removals.of("ds_1")
        assert await removals.carry_out_due() == 0
    assert await removals.carry_out_due() == 2
    assert await keys(objects) == []


async def test_of_two_processes_at_one_removal_each_step_counts_once(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals
) -> None:
    await stores.ready_dataset(3)
    seen_by_both = await stores.removals.due_removals(limit=10)
    for removal in seen_by_both * 2:
        await stores.removals.removed(removal, again_in=LATE_WRITES)
    await time_passes(stores)
    again = await stores.removals.due_removals(limit=10)
    assert [removal.runs for removal in again] == [1, 1]
