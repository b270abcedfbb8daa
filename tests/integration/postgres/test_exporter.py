"""Files of ended jobs get into buckets of callers, whole, whatever stops in between."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from lorax_batch_scheduler import exporter as exporter_module
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.errors import NotFoundError, ObjectStoreError
from lorax_batch_scheduler.export import Export, ExportState
from lorax_batch_scheduler.exporter import MAX_ATTEMPTS, NEW_UPLOAD_AFTER, Exporter
from lorax_batch_scheduler.objects.caller_buckets import S3CallerBuckets
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.objects.s3 import S3ObjectStore
from lorax_batch_scheduler.objects.s3_location import parse_s3_location
from lorax_batch_scheduler.ports import UploadedPart
from lorax_batch_scheduler.telemetry.tracing import Tracer

from tests.integration.postgres.conftest import LEASE, Stores
from tests.kept_spans import KeptSpans

pytestmark = pytest.mark.damages_database("its job was ended by hand")

OUTPUT = os.urandom(1 << 20) * 17  # three parts
ERRORS = b'{"error":1}\n'
_ids = itertools.count(1)


@pytest.fixture
def theirs(moto_store_url: str) -> str:
    """Return the setting that allows a place in a bucket."""
    return moto_store_url


@pytest_asyncio.fixture
async def objects(tmp_path: Path) -> AsyncIterator[DirectoryObjectStore]:
    async with DirectoryObjectStore(tmp_path / "objects") as objects:
        yield objects


def destination_in(theirs: str) -> str:
    return theirs.partition("?")[0] + "/runs/1"


async def end_job(stores: Stores, objects: DirectoryObjectStore, *, output: bytes = OUTPUT) -> None:
    await stores.ready_dataset(3)
    await stores.queued_job()
    for name, data in (("output", output), ("errors", ERRORS)):
        await objects.put(f"results/job_1/{name}.jsonl", data)
    await _finish_job(stores, output)


async def _finish_job(stores: Stores, output: bytes = OUTPUT) -> None:
    files = [
        {"key": f"results/job_1/{name}.jsonl", "row_count": 3, "byte_count": size, "sha256": ""}
        for name, size in (("output", len(output)), ("errors", len(ERRORS)))
    ]
    async with stores.database.connection() as connection:
        await connection.execute(
            """UPDATE jobs SET state = 'SUCCEEDED', outcome = 'SUCCEEDED', end_time = now(), result_count = 3,
            succeeded = 3, output_file = $1, error_file = $2""",
            *files,
        )


async def create(stores: Stores, theirs: str, traceparent: str = "") -> Export:
    destination = S3CallerBuckets(exports=[theirs]).check_destination(destination_in(theirs))
    return await stores.exports.create_export(
        f"exp_{next(_ids)}", job_id="job_1", destination=destination, request_id=None, traceparent=traceparent
    )


@asynccontextmanager
async def exporting(
    stores: Stores, objects: DirectoryObjectStore, theirs: str, name: str = "s1", tracer: Tracer | None = None
) -> AsyncIterator[Exporter]:
    """Yield what a scheduler runs that lives as long as this."""
    await stores.leases.register_scheduler(name, LEASE, exclusive=False)
    yield Exporter(
        stores.exports,
        stores.jobs,
        objects,
        S3CallerBuckets(exports=[theirs]),
        scheduler_id=lambda: name,
        clock=SystemClock(),
        tracer=tracer,
    )
    await stores.leases.unregister_scheduler(name)


async def exported(theirs: str) -> dict[str, bytes]:
    """Return what lies at the destination, and fail when an upload was left there."""
    async with S3ObjectStore(parse_s3_location(theirs, what="test")) as store:
        assert await store.unfinished_uploads("") == []
        return {info.key: await store.get(info.key) async for info in store.scan("")}


WHOLE = {"runs/1/output.jsonl": OUTPUT, "runs/1/errors.jsonl": ERRORS}


async def test_both_files_are_written(stores: Stores, objects: DirectoryObjectStore, theirs: str) -> None:
    await end_job(stores, objects)
    made = await create(stores, theirs)
    async with exporting(stores, objects, theirs) as exporter:
        assert await exporter.export_next()
        assert not await exporter.export_next()
    done = await stores.exports.get_export(made.export_id)
    assert (done.state, done.reason, done.progress.written) == (ExportState.DONE, "", ["output.jsonl", "errors.jsonl"])
    assert done.end_time is not None
    assert await exported(theirs) == WHOLE


@pytest.mark.parametrize("allowed", [True, False])
async def test_its_caller_is_told_of_it(
    stores: Stores, objects: DirectoryObjectStore, theirs: str, allowed: bool
) -> None:
    await end_job(stores, objects)
    made = await create(stores, theirs, traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
    tracer = KeptSpans()
    async with exporting(stores, objects, theirs if allowed else "s3://others", tracer=tracer) as exporter:
        assert await exporter.export_next()
    (span,) = tracer.spans
    assert (span.name, span.context.parent_id, span.failed) == ("export", "2" * 16, not allowed)
    assert span.attributes == {"tenant": "default", "export_id": made.export_id, "job_id": "job_1"}


async def test_an_export_waits_for_its_job(stores: Stores, objects: DirectoryObjectStore, theirs: str) -> None:
    await stores.ready_dataset(3)
    await stores.queued_job()
    made = await create(stores, theirs)
    async with exporting(stores, objects, theirs) as exporter:
        assert not await exporter.export_next()
        for name, data in (("output", b""), ("errors", ERRORS)):
            await objects.put(f"results/job_1/{name}.jsonl", data)
        await _finish_job(stores, b"")
        assert await exporter.export_next()
    assert (await stores.exports.get_export(made.export_id)).state is ExportState.DONE
    assert await exported(theirs) == {"runs/1/output.jsonl": b"", "runs/1/errors.jsonl": ERRORS}


async def test_another_process_goes_on_behind_the_last_part(
    stores: Stores, objects: DirectoryObjectStore, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end_job(stores, objects)
    await create(stores, theirs)
    sent: list[int] = []
    upload_part = S3ObjectStore.upload_part

    async def dying(self: S3ObjectStore, key: str, upload_id: str, number: int, data: bytes) -> UploadedPart:
        sent.append(number)
        if sent == [1, 2]:
            raise KeyError("the process dies")
        return await upload_part(self, key, upload_id, number, data)

    monkeypatch.setattr(S3ObjectStore, "upload_part", dying)
    async with exporting(stores, objects, theirs) as exporter:
        with pytest.raises(KeyError):
            await exporter.export_next()
        async with exporting(stores, objects, theirs, "s2") as other:
            assert not await other.export_next(), "the lease of the first one lasts"
    async with exporting(stores, objects, theirs, "s2") as other:
        assert await other.export_next()
    assert sent == [1, 2, 2, 3]
    assert await exported(theirs) == WHOLE


async def test_an_upload_that_is_gone_is_begun_anew(
    stores: Stores, objects: DirectoryObjectStore, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end_job(stores, objects)
    made = await create(stores, theirs)
    complete_upload = S3ObjectStore.complete_upload

    async def aborted_first(self: S3ObjectStore, key: str, upload_id: str, parts: list[UploadedPart]) -> object:
        monkeypatch.setattr(S3ObjectStore, "complete_upload", complete_upload)
        await self.abort_upload(key, upload_id)
        return await complete_upload(self, key, upload_id, parts)

    monkeypatch.setattr(S3ObjectStore, "complete_upload", aborted_first)
    async with exporting(stores, objects, theirs) as exporter:
        for _ in range(NEW_UPLOAD_AFTER):
            assert await exporter.export_next()
            assert (await stores.exports.get_export(made.export_id)).state is ExportState.WAITING
            await no_pause(stores)
        assert await exporter.export_next()
    assert (await stores.exports.get_export(made.export_id)).state is ExportState.DONE
    assert await exported(theirs) == WHOLE


async def no_pause(stores: Stores) -> None:
    async with stores.database.connection() as connection:
        await connection.execute("UPDATE exports SET not_before = now()")


async def test_a_bucket_in_trouble_is_tried_again_and_given_up_at_last(
    stores: Stores, objects: DirectoryObjectStore, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end_job(stores, objects, output=b"x")
    made = await create(stores, theirs)

    async def away(self: S3ObjectStore, key: str, data: bytes) -> None:
        raise ObjectStoreError("SlowDown", retryable=True)

    monkeypatch.setattr(S3ObjectStore, "put", away)
    async with exporting(stores, objects, theirs) as exporter:
        assert await exporter.export_next()
        waiting = await stores.exports.get_export(made.export_id)
        assert (waiting.state, waiting.reason) == (ExportState.WAITING, "tried again soon: SlowDown")
        assert not await exporter.export_next(), "there is a pause"
        async with stores.database.connection() as connection:
            await connection.execute("UPDATE exports SET attempts = $1", MAX_ATTEMPTS - 1)
        await no_pause(stores)
        assert await exporter.export_next()
    failed = await stores.exports.get_export(made.export_id)
    assert (failed.state, failed.reason) == (ExportState.FAILED, f"SlowDown (at {MAX_ATTEMPTS} tries)")


async def test_what_the_bucket_refuses_fails_with_what_to_change(
    stores: Stores, objects: DirectoryObjectStore, moto_url: str, s3_credentials: None
) -> None:
    await end_job(stores, objects, output=b"x")
    made = await create(stores, f"s3://no-such-bucket/out?endpoint={moto_url}&region=us-east-1")
    async with exporting(stores, objects, f"s3://no-such-bucket/out?endpoint={moto_url}&region=us-east-1") as exporter:
        await exporter.export_next()
    failed = await stores.exports.get_export(made.export_id)
    assert failed.state is ExportState.FAILED
    assert "NoSuchBucket" in failed.reason
    assert "export_buckets" in failed.reason


async def test_a_setting_that_was_taken_away_ends_the_export(
    stores: Stores, objects: DirectoryObjectStore, theirs: str
) -> None:
    await end_job(stores, objects)
    made = await create(stores, theirs)
    async with exporting(stores, objects, "s3://elsewhere") as exporter:
        await exporter.export_next()
    failed = await stores.exports.get_export(made.export_id)
    assert failed.state is ExportState.FAILED
    assert "is not allowed" in failed.reason


async def test_a_job_that_is_deleted_meanwhile_leaves_no_upload(
    stores: Stores, objects: DirectoryObjectStore, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end_job(stores, objects)
    made = await create(stores, theirs)
    upload_part = S3ObjectStore.upload_part

    async def deleted_meanwhile(
        self: S3ObjectStore, key: str, upload_id: str, number: int, data: bytes
    ) -> UploadedPart:
        async with stores.database.connection() as connection:
            await connection.execute("DELETE FROM jobs")
        return await upload_part(self, key, upload_id, number, data)

    monkeypatch.setattr(S3ObjectStore, "upload_part", deleted_meanwhile)
    async with exporting(stores, objects, theirs) as exporter:
        assert await exporter.export_next()
    with pytest.raises(NotFoundError):
        await stores.exports.get_export(made.export_id)
    assert await exported(theirs) == {}


async def test_it_runs_until_it_is_cancelled(
    stores: Stores, objects: DirectoryObjectStore, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter_module, "POLL_INTERVAL_S", 0.01)
    await end_job(stores, objects, output=b"x")
    async with exporting(stores, objects, theirs) as exporter:
        running = asyncio.create_task(exporter.run())
        made = await create(stores, theirs)
        async with asyncio.timeout(20):
            while (await stores.exports.get_export(made.export_id)).state is not ExportState.DONE:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])


async def test_a_request_id_makes_one_export(stores: Stores, objects: DirectoryObjectStore) -> None:
    await end_job(stores, objects)
    first, again = [
        await stores.exports.create_export(name, job_id="job_1", destination="s3://b/", request_id="r1")
        for name in ("exp_a", "exp_b")
    ]
    assert first == again
    with pytest.raises(NotFoundError):
        await stores.exports.create_export("exp_c", job_id="job_9", destination="s3://b/", request_id=None)
    assert [each.export_id for each in await stores.exports.exports_of("job_1", limit=10)] == ["exp_a"]
