"""The checker of object stores finds what is too much, what is missing, and what is cut off."""

from pathlib import Path

from lorax_batch_scheduler.dataset import NewDataset, UploadPart
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore

from tests.integration.postgres.conftest import Stores
from tests.invariants.objects import object_problems


async def test_objects_and_rows_are_held_against_each_other(stores: Stores, tmp_path: Path) -> None:
    await stores.ready_dataset(3, 2)
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_half", name="half"))
    epoch = await stores.datasets.begin_upload("ds_half", offset=0)
    part = UploadPart(first_byte=0, byte_count=10, key="uploads/ds_half/0-1")
    await stores.datasets.add_upload_part("ds_half", epoch, part)
    async with DirectoryObjectStore(tmp_path / "objects") as objects:
        assert await object_problems(stores.database.dsn, objects) == [
            "a part of dataset ds_half names object uploads/ds_half/0-1, which is not there",
            "dataset ds_1 names object datasets/ds_1/1/pack-00000, which is not there",
        ]
        await objects.put("datasets/ds_1/1/pack-00000", bytes(2000))
        await objects.put("uploads/ds_half/0-1", bytes(9))
        await objects.put("results/job_1/output.jsonl", b"x")
        upload_id = await objects.start_upload("results/job_1/errors.jsonl")
        assert await object_problems(stores.database.dsn, objects) == [
            "a part of dataset ds_half names 10 bytes of object uploads/ds_half/0-1, which has 9",
            "object results/job_1/output.jsonl is named by no row",
            f"unfinished upload {upload_id} of results/job_1/errors.jsonl is named by no row",
        ]
        await objects.put("uploads/ds_half/0-1", bytes(10))
        await objects.delete_prefix("results/job_1/")
        assert await object_problems(stores.database.dsn, objects) == []
