from pathlib import Path

import grpc
import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch_client import ResultKind, ResultOrder
from lorax_batch_client.errors import ChecksumMismatchError, FailedPreconditionError

from tests.integration.client.conftest import Caller
from tests.integration.client.messages import part, rows, summary
from tests.integration.client.scripted_service import UNAVAILABLE, Abort, Service

A = b'{"custom_id":"a","response":{"status_code":200,"body":{"n":1}},"error":null}'
B = b'{"custom_id":"b","response":null,"error":{"code":"bad","message":"no"}}'
C = b'{"custom_id":"c","response":{"status_code":200,"body":{"n":3}},"error":null}'
CONTENT = A + b"\n" + C + b"\n"


async def test_rows_are_parsed_with_offset_and_kind(caller: Caller, service: Service):
    service.script.expect(
        "StreamResults", [rows(0, A), rows(1, B, kind=pb.RESULT_KIND_ERROR), rows(2, C), summary(A, B, C)]
    )
    found = await caller.collect("results", "job_1")
    assert [(row.offset, row.custom_id, row.kind) for row in found] == [
        (0, "a", ResultKind.OUTPUT),
        (1, "b", ResultKind.ERROR),
        (2, "c", ResultKind.OUTPUT),
    ]
    assert found[0].body == {"n": 1}
    assert found[0].status_code == 200
    assert found[1].error == {"code": "bad", "message": "no"}
    assert found[1].body is None


async def test_a_broken_stream_goes_on_behind_the_last_row(caller: Caller, service: Service):
    service.script.expect("StreamResults", [rows(0, A, B), UNAVAILABLE], [rows(2, C), summary(C)])
    assert [row.custom_id for row in await caller.collect("results", "job_1")] == ["a", "b", "c"]
    assert service.script.requests[1].after_offset == 1


async def test_a_stream_that_ends_without_summary_is_taken_for_broken(caller: Caller, service: Service):
    service.script.expect("StreamResults", [rows(0, A)], [summary()])
    assert len(await caller.collect("results", "job_1")) == 1


async def test_options_travel(caller: Caller, service: Service):
    service.script.expect("StreamResults", [summary()])
    await caller.collect(
        "results", "job_1", follow=False, only=ResultKind.ERROR, order=ResultOrder.INPUT, after_offset=7
    )
    request = service.script.requests[0]
    assert (request.follow, request.only, request.order) == (False, pb.RESULT_KIND_ERROR, pb.RESULT_ORDER_INPUT)
    assert request.after_offset == 7


async def test_the_first_row_is_asked_for_without_an_offset(caller: Caller, service: Service):
    service.script.expect("StreamResults", [summary()])
    await caller.collect("results", "job_1")
    assert not service.script.requests[0].HasField("after_offset")


async def test_a_wrong_checksum_is_raised(caller: Caller, service: Service):
    service.script.expect("StreamResults", [rows(0, A), summary(A, sha256="00")])
    with pytest.raises(ChecksumMismatchError, match="'job_1'"):
        await caller.collect("results", "job_1")


async def test_a_missing_row_is_raised(caller: Caller, service: Service):
    service.script.expect("StreamResults", [rows(0, A), summary(A, B)])
    with pytest.raises(ChecksumMismatchError, match="1 rows arrived, but 2 were sent"):
        await caller.collect("results", "job_1")


async def test_a_broken_download_goes_on_from_the_last_byte(caller: Caller, service: Service, tmp_path: Path):
    service.script.expect(
        "DownloadResults",
        [part(CONTENT, 0, 10, first=True), UNAVAILABLE],
        [part(CONTENT, 10, 40, first=True), part(CONTENT, 40, len(CONTENT))],
    )
    file = await caller.ask("download", "job_1", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == CONTENT
    assert file.row_count == 2
    assert service.script.requests[1].offset == 10


async def test_both_files_are_downloaded_and_nothing_else_is_left(caller: Caller, service: Service, tmp_path: Path):
    errors = B + b"\n"
    service.script.expect(
        "DownloadResults", [part(errors, 0, len(errors), first=True)], [part(CONTENT, 0, len(CONTENT), first=True)]
    )
    await caller.ask("download", "job_1", tmp_path / "out.jsonl", errors=tmp_path / "err.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["err.jsonl", "out.jsonl"]
    assert (tmp_path / "err.jsonl").read_bytes() == errors


async def test_an_empty_file_is_downloaded(caller: Caller, service: Service, tmp_path: Path):
    service.script.expect("DownloadResults", [part(b"", 0, 0, first=True)])
    await caller.ask("download", "job_1", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b""


async def test_a_download_with_other_bytes_leaves_the_old_file(caller: Caller, service: Service, tmp_path: Path):
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"old")
    wrong = part(CONTENT, 0, len(CONTENT), first=True)
    wrong.data = bytes(len(CONTENT))
    service.script.expect("DownloadResults", [wrong])
    with pytest.raises(ChecksumMismatchError, match="output file of 'job_1'"):
        await caller.ask("download", "job_1", target)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.jsonl", b"old")]


async def test_a_download_of_a_running_job_is_refused(caller: Caller, service: Service, tmp_path: Path):
    service.script.expect(
        "DownloadResults", Abort(code=grpc.StatusCode.FAILED_PRECONDITION, text="job 'job_1' is RUNNING")
    )
    with pytest.raises(FailedPreconditionError, match="is RUNNING"):
        await caller.ask("download", "job_1", tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []
