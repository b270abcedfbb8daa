"""StreamResults and DownloadResults: every row once, from any place."""

import asyncio
import hashlib

import grpc
import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch_scheduler.job import JobEvent

from tests.integration.api.conftest import Api, refusal
from tests.integration.api.finished_job import claim, commit, commit_lines, line_of, run_rows, settle

Stream = grpc.aio.UnaryStreamCall[pb.StreamResultsRequest, pb.StreamResultsResponse]


async def read(stream: Stream) -> tuple[list[pb.ResultRows], pb.ResultSummary]:
    """Return rows and summary of a stream that ends, checked against each other."""
    async with asyncio.timeout(10):
        parts = [part async for part in stream]
    rows = [part.rows for part in parts[:-1]]
    summary = parts[-1].summary
    assert summary.row_count == sum(some.row_count for some in rows)
    assert summary.sha256 == hashlib.sha256(b"".join(some.lines for some in rows)).hexdigest()
    assert all(some.lines.count(b"\n") == some.row_count for some in rows)
    return rows, summary


def offsets(rows: list[pb.ResultRows]) -> list[int]:
    return [some.first_offset + place for some in rows for place in range(some.row_count)]


def text(rows: list[pb.ResultRows]) -> bytes:
    return b"".join(some.lines for some in rows)


@pytest.fixture
async def half_done(api: Api) -> Api:
    """A job of 6 rows of which 4 are committed, of them row 1 failed: offsets 0 to 3 are rows 0, 2, 3 and 1."""
    await api.stores.ready_dataset(6)
    await api.stores.queued_job()
    await commit(api.stores, await claim(api.stores, "job_1"), [0, 1, 2, 3], failed={1})
    return api


async def test_committed_rows_come_with_dense_offsets_and_a_summary(half_done: Api) -> None:
    rows, summary = await read(half_done.jobs.StreamResults(pb.StreamResultsRequest(job_id="job_1")))
    assert offsets(rows) == [0, 1, 2, 3]
    assert [some.kind for some in rows] == [pb.RESULT_KIND_OUTPUT, pb.RESULT_KIND_ERROR]
    assert text(rows) == b"".join(line_of(row) for row in (0, 2, 3, 1))
    assert (summary.last_offset, summary.counts.total, summary.counts.failed) == (3, 6, 1)
    assert summary.state == job_pb2.JOB_STATE_QUEUED


@pytest.mark.parametrize("after", [-1, 0, 1, 2, 3])
async def test_a_stream_goes_on_behind_any_row(half_done: Api, after: int) -> None:
    request = pb.StreamResultsRequest(job_id="job_1", after_offset=after)
    rows, summary = await read(half_done.jobs.StreamResults(request))
    assert offsets(rows) == list(range(after + 1, 4))
    assert text(rows) == b"".join([line_of(row) for row in (0, 2, 3, 1)][after + 1 :])
    assert summary.last_offset == 3


async def test_one_kind_keeps_its_offsets_and_passes_the_others(half_done: Api) -> None:
    only_errors = pb.StreamResultsRequest(job_id="job_1", only=pb.RESULT_KIND_ERROR)
    rows, summary = await read(half_done.jobs.StreamResults(only_errors))
    assert (offsets(rows), text(rows), summary.last_offset) == ([3], line_of(1), 3)
    only_output = pb.StreamResultsRequest(job_id="job_1", only=pb.RESULT_KIND_OUTPUT)
    rows, summary = await read(half_done.jobs.StreamResults(only_output))
    assert (offsets(rows), summary.last_offset) == ([0, 1, 2], 3)


async def test_following_sends_rows_as_they_are_committed_and_ends_with_the_job(half_done: Api) -> None:
    stream = half_done.jobs.StreamResults(pb.StreamResultsRequest(job_id="job_1", follow=True))
    first = await anext(aiter(stream))
    assert first.rows.row_count == 3
    await half_done.stores.leases.unregister_scheduler("s1")
    again = await claim(half_done.stores, "job_1")
    await commit(half_done.stores, again, [4, 5])
    await settle(half_done, "job_1", JobEvent.ROWS_DONE)
    rows, summary = [first.rows], None
    async with asyncio.timeout(10):
        async for part in stream:
            if part.HasField("rows"):
                rows.append(part.rows)
            else:
                summary = part.summary
    assert offsets(rows) == [0, 1, 2, 3, 4, 5]
    assert summary is not None
    assert (summary.state, summary.row_count, summary.last_offset) == (job_pb2.JOB_STATE_SUCCEEDED, 6, 5)


async def test_an_empty_stream_has_a_summary(api: Api) -> None:
    await api.stores.ready_dataset(1)
    await api.stores.queued_job()
    rows, summary = await read(api.jobs.StreamResults(pb.StreamResultsRequest(job_id="job_1")))
    assert (rows, summary.row_count, summary.last_offset) == ([], 0, -1)


async def test_a_place_beyond_the_rows_is_out_of_range(half_done: Api) -> None:
    request = pb.StreamResultsRequest(job_id="job_1", after_offset=4)
    assert (await refusal(read(half_done.jobs.StreamResults(request)))).code is grpc.StatusCode.OUT_OF_RANGE
    request = pb.StreamResultsRequest(job_id="job_1", after_offset=-2)
    assert (await refusal(read(half_done.jobs.StreamResults(request)))).fields.keys() == {"after_offset"}
    unknown = pb.StreamResultsRequest(job_id="job_9")
    assert (await refusal(read(half_done.jobs.StreamResults(unknown)))).code is grpc.StatusCode.NOT_FOUND


@pytest.fixture
async def scattered(api: Api) -> Api:
    """An ended job of two adapters whose rows alternate in the dataset: odd lines and even lines, 500 each."""
    await api.stores.ready_dataset(500, 500)
    await api.stores.queued_job()
    for chunk_no in (1, 0):
        chunk = await claim(api.stores, "job_1", chunk_no)
        for begin in (250, 0):
            lines = {row: 2 * row + chunk_no + 1 for row in range(begin, begin + 250)}
            answers = {row: (line, b'{"line":%d}\n' % line) for row, line in lines.items()}
            await commit_lines(api.stores, chunk, answers, failed={3, 4})
    await settle(api, "job_1", JobEvent.ROWS_DONE)
    return api


async def test_input_order_is_by_line_whatever_fits_in_memory(scattered: Api) -> None:
    request = pb.StreamResultsRequest(job_id="job_1", order=pb.RESULT_ORDER_INPUT)
    rows, summary = await read(scattered.jobs.StreamResults(request))
    assert text(rows) == b"".join(b'{"line":%d}\n' % line for line in range(1, 1001))
    assert offsets(rows) == list(range(1000))
    assert summary.last_offset == 999
    request.after_offset = 700
    rows, _ = await read(scattered.jobs.StreamResults(request))
    assert offsets(rows) == list(range(701, 1000))
    assert text(rows).startswith(b'{"line":702}\n')
    only_errors = pb.StreamResultsRequest(job_id="job_1", order=pb.RESULT_ORDER_INPUT, only=pb.RESULT_KIND_ERROR)
    rows, _ = await read(scattered.jobs.StreamResults(only_errors))
    assert text(rows) == b"".join(b'{"line":%d}\n' % line for line in (7, 8, 9, 10))
    assert offsets(rows) == [0, 1, 2, 3]


async def test_input_order_needs_an_ended_job(half_done: Api) -> None:
    request = pb.StreamResultsRequest(job_id="job_1", order=pb.RESULT_ORDER_INPUT)
    assert (await refusal(read(half_done.jobs.StreamResults(request)))).code is grpc.StatusCode.FAILED_PRECONDITION


# --- downloads --------------------------------------------------------------------------------------------------------

OUTPUT = b"".join(b'{"n":%d}\n' % n for n in range(100_000))


async def download(api: Api, **fields: object) -> tuple[bytes, list[pb.DownloadResultsResponse]]:
    request = pb.DownloadResultsRequest(job_id="job_1", **fields)  # type: ignore[arg-type]
    pieces = [piece async for piece in api.jobs.DownloadResults(request)]
    return b"".join(piece.data for piece in pieces), pieces


@pytest.fixture
async def ended(api: Api) -> Api:
    await api.stores.ready_dataset(1)
    await api.stores.queued_job()
    await run_rows(api.stores, "job_1", 1)
    await settle(api, "job_1", JobEvent.ROWS_DONE, output=OUTPUT, errors=b"")
    return api


@pytest.mark.parametrize("offset", [0, 1, 262_143, 262_144, 500_000, len(OUTPUT) - 1, len(OUTPUT)])
async def test_a_file_is_the_same_from_any_byte(ended: Api, offset: int) -> None:
    data, pieces = await download(ended, offset=offset)
    assert data == OUTPUT[offset:]
    assert pieces[0].file.byte_count == len(OUTPUT)
    assert not any(piece.HasField("file") for piece in pieces[1:])
    assert [piece.offset for piece in pieces] == list(range(offset, len(OUTPUT), 262_144)) or offset == len(OUTPUT)
    assert max(len(piece.data) for piece in pieces) <= 262_144


async def test_an_empty_file_is_one_message(ended: Api) -> None:
    data, pieces = await download(ended, kind=pb.RESULT_KIND_ERROR)
    assert (data, len(pieces), pieces[0].HasField("file")) == (b"", 1, True)


async def test_a_download_refuses_what_is_not_there(ended: Api) -> None:
    assert (await refusal(download(ended, offset=len(OUTPUT) + 1))).code is grpc.StatusCode.OUT_OF_RANGE
    assert (await refusal(download(ended, offset=-1))).fields.keys() == {"offset"}
    await ended.objects.delete("results/job_1/output.jsonl")
    assert (await refusal(download(ended))).code is grpc.StatusCode.DATA_LOSS


async def test_a_file_of_a_running_job_is_refused(half_done: Api) -> None:
    assert (await refusal(download(half_done))).code is grpc.StatusCode.FAILED_PRECONDITION
