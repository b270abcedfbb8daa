"""Datasets through the API: uploaded, continued, imported, listed, deleted."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest
from lorax_batch.v1 import dataset_pb2
from lorax_batch.v1 import datasets_pb2 as pb

from tests.integration.api.conftest import MAX_DATASET_BYTES, PART_BYTES, Api, refusal

LINES = b'{"custom_id":"1"}\n' * 1000


def start(**fields: object) -> pb.UploadDatasetRequest:
    return pb.UploadDatasetRequest(start=pb.UploadStart(**fields))  # type: ignore[arg-type]


def data(block: bytes) -> pb.UploadDatasetRequest:
    return pb.UploadDatasetRequest(data=block)


def finish(sha256: str = "") -> pb.UploadDatasetRequest:
    return pb.UploadDatasetRequest(finish=pb.UploadFinish(sha256=sha256))


async def upload(api: Api, *messages: pb.UploadDatasetRequest) -> dataset_pb2.Dataset:
    async def requests(of: Iterable[pb.UploadDatasetRequest] = messages) -> AsyncIterator[pb.UploadDatasetRequest]:
        for message in of:
            yield message

    return (await api.datasets.UploadDataset(requests())).dataset


async def status(api: Api, **fields: str) -> pb.GetUploadStatusResponse:
    return await api.datasets.GetUploadStatus(pb.GetUploadStatusRequest(**fields))


async def test_an_upload_is_in_validation_when_its_bytes_are_stored(api: Api) -> None:
    sha256 = hashlib.sha256(LINES).hexdigest()
    begun = start(name="rows", on_invalid=dataset_pb2.ON_INVALID_SKIP, total_bytes=len(LINES))
    dataset = await upload(api, begun, data(LINES[:5000]), data(LINES[5000:]), finish(sha256))
    assert dataset.state == dataset_pb2.DATASET_STATE_VALIDATING
    assert (dataset.name, dataset.byte_count, dataset.on_invalid) == ("rows", len(LINES), 2)
    stored = [await api.objects.get(part.key) for part in await api.stores.datasets.upload_parts(dataset.dataset_id)]
    assert b"".join(stored) == LINES
    by_name = await api.datasets.GetDataset(pb.GetDatasetRequest(dataset="rows"))
    assert by_name.dataset.dataset_id == dataset.dataset_id


async def test_a_stream_without_finish_can_be_continued(api: Api) -> None:
    half = await upload(api, start(request_id="u1"), data(LINES[:7000]))
    assert (half.state, half.byte_count) == (dataset_pb2.DATASET_STATE_UPLOADING, 7000)
    known = await status(api, request_id="u1")
    assert (known.dataset_id, known.stored_bytes) == (half.dataset_id, 7000)
    wrong = start(dataset_id=half.dataset_id, offset=6999)
    told = await refusal(upload(api, wrong, data(b"x"), finish()))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OFFSET_MISMATCH")
    assert told.metadata == {"offset": "7000"}
    right = start(dataset_id=half.dataset_id, offset=7000)
    whole = await upload(api, right, data(LINES[7000:]), finish())
    assert (whole.state, whole.byte_count) == (dataset_pb2.DATASET_STATE_VALIDATING, len(LINES))


async def test_a_repeated_request_id_answers_with_the_same_dataset(api: Api) -> None:
    first = await upload(api, start(request_id="u1"), data(LINES), finish())
    again = await upload(api, start(request_id="u1"), data(LINES), finish())
    assert again.dataset_id == first.dataset_id
    assert len((await api.datasets.ListDatasets(pb.ListDatasetsRequest())).datasets) == 1
    late = start(dataset_id=first.dataset_id, offset=len(LINES))
    told = await refusal(upload(api, late, finish()))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_CONFLICT")


async def test_another_stream_takes_an_upload_over(api: Api) -> None:
    call = api.datasets.UploadDataset()
    await call.write(start(request_id="u1"))
    await call.write(data(bytes(PART_BYTES)))
    known = await api.datasets.ListDatasets(pb.ListDatasetsRequest())
    while not known.datasets or known.datasets[0].byte_count < PART_BYTES:
        known = await api.datasets.ListDatasets(pb.ListDatasetsRequest())
    other = start(dataset_id=known.datasets[0].dataset_id, offset=PART_BYTES)
    assert (await upload(api, other, data(b"def"))).byte_count == PART_BYTES + 3
    await call.write(data(bytes(PART_BYTES)))
    told = await refusal(call)
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "BUSY")
    assert "RetryInfo" in told.details


async def test_a_wrong_checksum_is_told_at_the_end_of_the_upload(api: Api) -> None:
    told = await refusal(upload(api, start(), data(LINES), finish("0" * 64)))
    assert (told.code, told.reason) == (grpc.StatusCode.DATA_LOSS, "CHECKSUM_MISMATCH")
    assert hashlib.sha256(LINES).hexdigest() in told.message
    (failing,) = (await api.datasets.ListDatasets(pb.ListDatasetsRequest())).datasets
    assert failing.state == dataset_pb2.DATASET_STATE_VALIDATING  # until ingest gets to it


async def test_the_checksum_is_that_of_all_streams(api: Api) -> None:
    for sum_of, code in ((LINES, None), (LINES[9000:], grpc.StatusCode.DATA_LOSS)):
        half = await upload(api, start(), data(LINES[:9000]))
        rest = upload(
            api,
            start(dataset_id=half.dataset_id, offset=9000),
            data(LINES[9000:]),
            finish(hashlib.sha256(sum_of).hexdigest()),
        )
        if code is None:
            assert (await rest).state == dataset_pb2.DATASET_STATE_VALIDATING
        else:
            assert (await refusal(rest)).code is code


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "start"),
        ([data(b"x")], "start"),
        ([start(), start()], "start"),
        ([start(), finish(), data(b"x")], "finish"),
        ([start(), pb.UploadDatasetRequest()], "part"),
        ([start(offset=5)], "start.offset"),
        ([start(offset=-1)], "start.offset"),
        ([start(name="x" * 201)], "start.name"),
        ([start(on_invalid=9)], "start.on_invalid"),
        ([start(request_id="x" * 129)], "start.request_id"),
        ([start(total_bytes=MAX_DATASET_BYTES + 1)], "start.total_bytes"),
        ([start(), data(b"x"), finish("ABC")], "finish.sha256"),
    ],
)
async def test_a_wrong_upload_is_told_what_is_wrong(
    api: Api, messages: list[pb.UploadDatasetRequest], field: str
) -> None:
    told = await refusal(upload(api, *messages))
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert told.fields.keys() == {field}


async def test_a_dataset_that_grows_too_large_is_refused(api: Api) -> None:
    block = bytes(4 << 20)
    told = await refusal(upload(api, start(), *[data(block)] * 3))
    assert f"{MAX_DATASET_BYTES:,}" in told.fields["data"]


async def test_a_silent_upload_is_ended(api: Api) -> None:
    call = api.datasets.UploadDataset()
    await call.write(start())
    told = await refusal(call)
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "IDLE")


async def test_unknown_datasets_are_not_found(api: Api) -> None:
    for call in (
        status(api, dataset_id="ds_9"),
        status(api, request_id="u9"),
        upload(api, start(dataset_id="ds_9", offset=1)),
        api.datasets.GetDataset(pb.GetDatasetRequest(dataset="ds_9")),
        api.datasets.DeleteDataset(pb.DeleteDatasetRequest(dataset_id="ds_9")),
    ):
        assert (await refusal(call)).code is grpc.StatusCode.NOT_FOUND
    assert (await refusal(status(api))).fields.keys() == {"dataset_id"}


async def test_a_file_under_a_root_is_imported_once(api: Api) -> None:
    path = api.import_root / "rows.jsonl"
    path.write_bytes(LINES)
    request = pb.ImportDatasetRequest(path=str(path), request_id="i1")
    first = (await api.datasets.ImportDataset(request)).dataset
    assert (first.name, first.state) == ("rows.jsonl", dataset_pb2.DATASET_STATE_VALIDATING)
    path.unlink()
    assert (await api.datasets.ImportDataset(request)).dataset.dataset_id == first.dataset_id


async def test_a_path_outside_the_roots_is_not_permitted(api: Api, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(LINES)
    link = api.import_root / "link.jsonl"
    link.symlink_to(secret)
    for path in (secret, link, api.import_root / ".." / "secret.jsonl", "/etc/nothing-here"):
        told = await refusal(api.datasets.ImportDataset(pb.ImportDatasetRequest(path=str(path))))
        assert told.code is grpc.StatusCode.PERMISSION_DENIED
    missing = pb.ImportDatasetRequest(path=str(api.import_root / "missing.jsonl"))
    assert (await refusal(api.datasets.ImportDataset(missing))).fields.keys() == {"path"}


async def test_lists_are_paged_and_leave_details_out(api: Api) -> None:
    for number in range(5):
        await api.stores.ready_dataset(2, dataset_id=f"ds_{number}", invalid_rows=1)
    first = await api.datasets.ListDatasets(pb.ListDatasetsRequest(page_size=3))
    rest = await api.datasets.ListDatasets(pb.ListDatasetsRequest(page_size=3, page_token=first.next_page_token))
    assert [d.dataset_id for d in [*first.datasets, *rest.datasets]] == [f"ds_{n}" for n in (4, 3, 2, 1, 0)]
    assert not rest.next_page_token
    assert (first.datasets[0].invalid.line_count, len(first.datasets[0].models)) == (1, 0)
    whole = (await api.datasets.GetDataset(pb.GetDatasetRequest(dataset="ds_0"))).dataset
    assert [(count.model, count.row_count) for count in whole.models] == [("adapter-0", 2)]
    told = await refusal(api.datasets.ListDatasets(pb.ListDatasetsRequest(page_token="x")))
    assert told.fields.keys() == {"page_token"}


@pytest.mark.damages_database("its job is gone without an event")
async def test_a_dataset_in_use_stays_until_its_jobs_have_ended(api: Api) -> None:
    await api.stores.ready_dataset(2)
    await api.stores.queued_job()
    await api.objects.put("datasets/ds_1/1/pack-00000", b"chunks")
    request = pb.DeleteDatasetRequest(dataset_id="ds_1")
    told = await refusal(api.datasets.DeleteDataset(request))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DATASET_IN_USE")
    assert "job_1" in told.message
    async with api.stores.database.connection() as connection:
        await connection.execute("DELETE FROM jobs")
    await api.datasets.DeleteDataset(request)
    assert [info.key async for info in api.objects.scan("")] == []


async def test_the_objects_of_a_half_upload_are_deleted_with_it(api: Api) -> None:
    half = await upload(api, start(), data(LINES))
    await api.datasets.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=half.dataset_id))
    assert [info.key async for info in api.objects.scan("")] == []
