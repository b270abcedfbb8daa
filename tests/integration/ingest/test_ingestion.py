"""Datasets become ready, whatever dies in between."""

import asyncio
import gzip
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_scheduler.dataset import ChunkEntry, Dataset, DatasetState, DatasetSummary, NewDataset, OnInvalid
from lorax_batch_scheduler.errors import DatabaseError, ObjectStoreError
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.pack_upload import PART_BYTES, store_file

from tests.integration.ingest.conftest import LEASE, Place
from tests.unit.ingest.lines_of import chat_line

ROWS = b"".join(chat_line(f"r{n}", f"text {n}", model=f"m{n % 3}") for n in range(200))


async def test_an_upload_becomes_ready(place: Place):
    await place.upload(ROWS, sha256=hashlib.sha256(ROWS).hexdigest().upper())
    assert await place.ingestion(limits=IngestLimits(pack_bytes=500)).ingest_next()
    dataset = await place.datasets.get_dataset("ds_1")
    assert (dataset.state, dataset.row_count, dataset.model_count) == (DatasetState.READY, 200, 3)
    assert dataset.sha256 == hashlib.sha256(ROWS).hexdigest()
    chunks = await place.chunks(dataset)
    assert sorted(line for chunk in chunks for line in chunk.lines) == list(range(1, 201))
    assert all(key.startswith("datasets/ds_1/attempt-1/pack-") for key in await place.keys())
    assert await place.datasets.upload_parts("ds_1") == []
    assert list((place.folder / "scratch").iterdir()) == []
    assert not await place.ingestion().ingest_next()


@pytest.mark.parametrize(
    ("data", "sha256", "reason"),
    [
        (b"", None, "the file holds no rows"),
        (ROWS + b"{\n", None, "1 of 201 lines are invalid"),
        (ROWS, "0" * 64, "SHA-256 of what arrived is"),
        (gzip.compress(ROWS)[:-9], None, "ends too early"),
    ],
    ids=["empty", "bad line", "wrong sum", "cut off"],
)
async def test_a_bad_upload_fails_and_leaves_nothing(place: Place, data, sha256, reason):
    await place.upload(data, sha256=sha256)
    assert await place.ingestion().ingest_next()
    dataset = await place.datasets.get_dataset("ds_1")
    assert dataset.state is DatasetState.FAILED
    assert reason in dataset.reason
    assert await place.keys() == []


async def test_skipped_lines_are_counted(place: Place):
    await place.upload(ROWS + b"\0{\n", on_invalid=OnInvalid.SKIP)
    await place.ingestion().ingest_next()
    dataset = await place.datasets.get_dataset("ds_1")
    assert (dataset.state, dataset.invalid_row_count) == (DatasetState.READY, 1)
    assert dataset.invalid.codes[0].first_lines[0].line == 201


async def test_a_file_of_the_server_is_imported(place: Place):
    path = place.folder / "rows.jsonl"
    path.write_bytes(ROWS)
    for number, source in enumerate((path, place.folder / "none", Path("/etc/passwd"))):
        new = NewDataset(dataset_id=f"ds_{number}", name="rows", source_path=str(source))
        await place.datasets.create_dataset(new)
    ingestion = place.ingestion(import_roots=[place.folder])
    while await ingestion.ingest_next():
        pass
    states = [(await place.datasets.get_dataset(f"ds_{number}")) for number in range(3)]
    assert [dataset.state for dataset in states] == [DatasetState.READY, DatasetState.FAILED, DatasetState.FAILED]
    assert "is no file on the server" in states[1].reason
    assert "import roots" in states[2].reason


async def test_datasets_are_taken_as_they_come(place: Place):
    left = place.folder / "scratch" / "left"
    left.mkdir(parents=True)
    running = asyncio.create_task(place.ingestion().run())
    for number in range(3):
        await place.upload(ROWS, f"ds_{number}")
    async with asyncio.timeout(60):
        while any([(await place.datasets.get_dataset(f"ds_{n}")).state is not DatasetState.READY for n in range(3)]):
            await place.datasets.wait_for_datasets(1)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert not left.exists()


class CrashError(Exception):
    """The process dies here."""


@pytest.mark.parametrize("point", ["put", "finish_ingest", "delete_prefix"])
async def test_a_crash_at_any_point_is_mended_by_the_next_run(place: Place, monkeypatch, point):
    await place.upload(ROWS)
    with monkeypatch.context() as patch:
        target = place.objects if hasattr(place.objects, point) else place.datasets
        happen = getattr(target, point)

        async def crash(*arguments: object, **named: object) -> None:
            await happen(*arguments, **named)
            raise CrashError

        patch.setattr(target, point, crash)
        with pytest.raises(CrashError):
            await place.ingestion().ingest_next()
    await place.begin_another_life()
    again = place.ingestion()
    while await again.ingest_next():
        pass
    await place.removals().carry_out_due()
    dataset = await place.datasets.get_dataset("ds_1")
    assert dataset.state is DatasetState.READY
    assert sum([len(chunk.lines) for chunk in await place.chunks(dataset)]) == 200
    assert await place.keys() == [f"{dataset.storage_prefix}pack-00000"]
    assert await place.datasets.upload_parts("ds_1") == []


async def test_of_two_processes_one_ingests_a_dataset(place: Place):
    await place.upload(ROWS)
    await place.leases.register_scheduler("scheduler-2", LEASE, exclusive=False)
    first, second = place.ingestion(), place.ingestion(scheduler_id="scheduler-2")
    second._scratch_root = place.folder / "scratch-2"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.ingest_next()) for each in (first, second)]
    assert sorted(task.result() for task in tasks) == [False, True]
    dataset = await place.datasets.get_dataset("ds_1")
    assert dataset.state is DatasetState.READY
    assert await place.keys() == [f"{dataset.storage_prefix}pack-00000"]


async def test_who_has_lost_its_claim_changes_nothing(place: Place, monkeypatch):
    await place.upload(ROWS)
    finish, late = place.datasets.finish_ingest, asyncio.Event()

    async def taken_over(*arguments: Any, **named: Any) -> Dataset:
        if late.is_set():
            return await finish(*arguments, **named)
        late.set()
        await place.begin_another_life()
        assert await place.ingestion().ingest_next()
        return await finish(*arguments, **named)

    monkeypatch.setattr(place.datasets, "finish_ingest", taken_over)
    assert await place.ingestion().ingest_next()
    dataset = await place.datasets.get_dataset("ds_1")
    assert dataset.storage_prefix == "datasets/ds_1/attempt-2/"
    assert await place.keys() == [f"{dataset.storage_prefix}pack-00000"]


async def test_a_claim_whose_answer_was_lost_is_found_again(place: Place):
    await place.upload(ROWS)
    claimed = await place.datasets.claim_dataset(place.scheduler_id, [])
    assert claimed is not None
    assert await place.datasets.claim_dataset(place.scheduler_id, []) == claimed


async def test_nobody_claims_without_a_lease(place: Place):
    await place.upload(ROWS)
    assert not await place.ingestion(scheduler_id="scheduler-unknown").ingest_next()
    await place.leases.unregister_scheduler(place.scheduler_id)
    assert not await place.ingestion().ingest_next()


async def test_what_a_leaving_process_has_begun_is_there_for_others_at_once(place: Place):
    await place.upload(ROWS)
    await place.leases.register_scheduler("scheduler-2", LEASE, exclusive=False)
    leaving = place.ingestion()
    leaving._claimed_by = place.scheduler_id
    assert await place.datasets.claim_dataset(place.scheduler_id, []) is not None
    assert not await place.ingestion(scheduler_id="scheduler-2").ingest_next()
    await leaving.release()
    assert await place.ingestion(scheduler_id="scheduler-2").ingest_next()


async def test_a_dead_schedulers_claim_is_freed_by_the_next_renewal_of_another(place: Place):
    await place.upload(ROWS)
    await place.leases.register_scheduler("scheduler-2", timedelta(), exclusive=False)
    await place.leases.register_scheduler("scheduler-3", LEASE, exclusive=False)
    async with place.database.connection() as connection:
        await connection.execute("UPDATE datasets SET scheduler_id = 'scheduler-2'")
    assert not await place.ingestion(scheduler_id="scheduler-3").ingest_next()
    assert await place.leases.renew_scheduler("scheduler-3", LEASE)
    assert await place.ingestion(scheduler_id="scheduler-3").ingest_next()


async def test_a_dataset_that_is_deleted_meanwhile_leaves_nothing(place: Place, monkeypatch):
    await place.upload(ROWS)
    finish = place.datasets.finish_ingest

    async def too_late(
        dataset_id: str, summary: DatasetSummary, chunks: list[ChunkEntry], storage_prefix: str, *, scheduler_id: str
    ) -> object:
        await place.datasets.delete_dataset(dataset_id)
        await place.objects.delete_prefix(f"uploads/{dataset_id}/")
        return await finish(dataset_id, summary, chunks, storage_prefix, scheduler_id=scheduler_id)

    monkeypatch.setattr(place.datasets, "finish_ingest", too_late)
    await place.ingestion().ingest_next()
    assert await place.keys() == []


async def test_a_failing_store_puts_the_dataset_off_but_not_the_others(place: Place, monkeypatch):
    await place.upload(ROWS, "ds_1")
    await place.upload(ROWS, "ds_2")
    put = place.objects.put

    async def fail_first(key: str, data: bytes) -> None:
        if "ds_1" in key:
            raise ObjectStoreError("the store is down", retryable=True)
        await put(key, data)

    monkeypatch.setattr(place.objects, "put", fail_first)
    ingestion = place.ingestion()
    assert [await ingestion.ingest_next() for _ in range(3)] == [True, True, False]
    assert (await place.datasets.get_dataset("ds_1")).state is DatasetState.VALIDATING
    assert (await place.datasets.get_dataset("ds_2")).state is DatasetState.READY


async def test_a_dataset_whose_process_dies_again_and_again_fails(place: Place, monkeypatch):
    await place.upload(ROWS)
    ingestion = place.ingestion(limits=IngestLimits(pack_bytes="x"))  # type: ignore[arg-type]
    for _ in range(3):
        assert await ingestion.ingest_next()
        ingestion._not_before.clear()
    dataset = await place.datasets.get_dataset("ds_1")
    assert dataset.state is DatasetState.FAILED
    assert "ValidationError" in dataset.reason


async def test_a_lost_part_fails_the_dataset(place: Place):
    await place.upload(ROWS)
    await place.objects.delete((await place.datasets.upload_parts("ds_1"))[1].key)
    await place.ingestion().ingest_next()
    dataset = await place.datasets.get_dataset("ds_1")
    assert dataset.state is DatasetState.FAILED
    assert "no object 'uploads/ds_1/" in dataset.reason


async def test_a_database_out_of_reach_is_waited_for(place: Place, monkeypatch):
    async def out_of_reach(scheduler_id: str, excluded: object) -> None:
        raise DatabaseError("no route")

    waits: list[float] = []

    class Impatient:
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                raise CrashError

        def monotonic(self) -> float:
            return 0.0

    monkeypatch.setattr(place.datasets, "claim_dataset", out_of_reach)
    ingestion = place.ingestion()
    ingestion._clock = Impatient()  # type: ignore[assignment]
    with pytest.raises(CrashError):
        await ingestion.run()
    assert waits == [3.0] * 3


@pytest.mark.parametrize("size", [0, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 9])
async def test_a_file_is_stored_in_parts_when_it_is_large(place: Place, size):
    path = place.folder / "pack"
    path.write_bytes(bytes(size))
    await store_file(place.objects, "a/pack", path)
    assert await place.objects.get("a/pack") == bytes(size)
