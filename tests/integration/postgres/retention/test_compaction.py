"""Results of ended jobs are read from their files once their segments are dropped, and are the same rows."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from lorax_batch_scheduler.errors import NotFoundError, ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.job import JobEvent, ResultFile
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.ports import ResultSource
from lorax_batch_scheduler.result_reader import ResultReader
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.retention import compaction as compaction_module
from lorax_batch_scheduler.retention.compaction import Compaction
from lorax_batch_server.input_order import InputOrder
from lorax_batch_server.result_stream import ResultStream, StreamSummary
from lorax_batch_server.row_packer import PackedRows
from lorax_batch_server.stopping import Stopping

from tests.integration.api.finished_job import run_rows
from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.retention.conftest import MakeCaretaker
from tests.integration.postgres.retention.ended_job import ended_job, result_line

COMMITS = [[7, 3, 10], [1], [5], [2, 4], [15, 20], [6, 8, 9], [11, 12, 13, 14], [16, 17], [18, 19]]
NOW = timedelta(0)
Rows = list[tuple[int, bool, bytes]]


async def read(parts: AsyncIterator[Any]) -> tuple[Rows, StreamSummary]:
    """Return (offset, error, line) of all rows of a stream."""
    rows: Rows = []
    async for part in parts:
        if isinstance(part, StreamSummary):
            return rows, part
        assert isinstance(part, PackedRows)
        for place, line in enumerate(part.lines.splitlines()):
            rows.append((part.first_offset + place, part.error, line))
    raise AssertionError("a stream ended without summary")


async def compact(stores: Stores, objects: DirectoryObjectStore) -> None:
    compaction = Compaction(stores.retention, objects)
    while (await compaction.step(NOW))[1]:
        pass


async def count(stores: Stores, table: str) -> int:
    async with stores.database.connection() as connection:
        number: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return number


async def place(stores: Stores) -> str:
    async with stores.database.connection() as connection:
        name: str = await connection.fetchval("SELECT results_in FROM jobs")
    return name


@pytest.fixture
def reader(stores: Stores, objects: DirectoryObjectStore) -> ResultReader:
    return ResultReader(stores.results, stores.jobs, objects)


@pytest.fixture
def streams(stores: Stores, reader: ResultReader) -> Callable[..., AsyncIterator[Any]]:
    """Return what makes a stream: in completion order, or by line."""

    def make(*, by_input: bool, after: int = -1, error: bool | None = None) -> AsyncIterator[Any]:
        if by_input:
            order = InputOrder(stores.jobs, reader, Stopping(), window_bytes=1_500)
            return order.rows("job_1", after=after, error=error)
        stream = ResultStream(stores.jobs, reader, stores.jobs, Stopping())
        return stream.rows("job_1", after=after, follow=True, error=error)

    return make


@pytest.mark.parametrize("by_input", [False, True])
@pytest.mark.parametrize("error", [None, False, True])
async def test_streams_are_the_same_from_every_place(
    stores: Stores,
    objects: DirectoryObjectStore,
    streams: Callable[..., AsyncIterator[Any]],
    by_input: bool,
    error: bool | None,
) -> None:
    await ended_job(stores, objects, commits=COMMITS)
    whole, before = await read(streams(by_input=by_input, error=error))
    afters = range(len(whole) - 1) if by_input else range(19)
    wanted = {after: await read(streams(by_input=by_input, after=after, error=error)) for after in afters}
    await compact(stores, objects)
    assert (await count(stores, "segments"), await place(stores)) == (0, "FILES")
    again, summary = await read(streams(by_input=by_input, error=error))
    assert again == whole
    assert (summary.sha256, summary.last_offset) == (before.sha256, before.last_offset)
    for after in afters:
        assert (await read(streams(by_input=by_input, after=after, error=error)))[0] == wanted[after][0]


async def test_few_ranges_are_left_of_many_segments(stores: Stores, objects: DirectoryObjectStore) -> None:
    await ended_job(stores, objects, commits=[[line] for line in range(1, 41)])
    assert await count(stores, "segments") == 40
    await compact(stores, objects)
    # Every fifth row failed: a range each, and one for those between them.
    assert await count(stores, "file_ranges") == 16


@pytest.mark.parametrize("by_input", [False, True])
async def test_a_reader_does_not_notice_when_segments_go_under_its_hands(
    stores: Stores, objects: DirectoryObjectStore, reader: ResultReader, by_input: bool
) -> None:
    await ended_job(stores, objects, commits=COMMITS)

    class OnePage(ResultReader):
        """Reads a segment or a range at a time; the segments are dropped after the third."""

        reads = 0

        async def segments(self, job_id: str, **where: Any) -> Any:
            return await self._one(super().segments, job_id, where)

        async def segments_of_lines(self, job_id: str, **where: Any) -> Any:
            return await self._one(super().segments_of_lines, job_id, where)

        async def _one(self, ask: Any, job_id: str, where: dict[str, Any]) -> Any:
            self.reads += 1
            if self.reads == 3:
                await compact(stores, objects)
            return await ask(job_id, **{**where, "max_bytes": 1})

    source: ResultSource = OnePage(stores.results, stores.jobs, objects)
    if by_input:
        parts = InputOrder(stores.jobs, source, Stopping()).rows("job_1", after=-1, error=None)
    else:
        parts = ResultStream(stores.jobs, source, stores.jobs, Stopping()).rows(
            "job_1", after=-1, follow=False, error=None
        )
    rows, _ = await read(parts)
    lines = (
        sorted(line for lines in COMMITS for line in lines)
        if by_input
        else [line for lines in COMMITS for line in sorted(lines, key=lambda line: line % 5 == 0)]
    )
    assert [row for _, _, row in rows] == [result_line("job_1", line).rstrip() for line in lines]
    assert await place(stores) == "FILES"


async def test_a_large_job_is_dropped_in_steps_and_read_from_its_files_meanwhile(
    stores: Stores,
    objects: DirectoryObjectStore,
    streams: Callable[..., AsyncIterator[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction_module, "SEGMENTS_AT_ONCE", 10)
    await ended_job(stores, objects, commits=[[line] for line in range(1, 26)])
    whole, _ = await read(streams(by_input=False))
    compaction = Compaction(stores.retention, objects)
    assert await compaction.step(NOW) == (0, True)
    assert (await count(stores, "segments"), await place(stores)) == (15, "BOTH")
    assert (await read(streams(by_input=False)))[0] == whole
    assert await compaction.step(NOW) == (0, True)
    assert await compaction.step(NOW) == (1, False)
    assert (await count(stores, "segments"), await place(stores)) == (0, "FILES")


async def test_rows_that_fail_can_be_retried_after_it(stores: Stores, objects: DirectoryObjectStore) -> None:
    await ended_job(stores, objects, commits=COMMITS)
    await compact(stores, objects)
    retry = await stores.jobs.retry_job("job_1", new_job_id="job_2", request_id=None)
    assert retry.counts.total == 4


async def test_files_that_are_not_what_they_should_be_leave_the_segments_alone(
    stores: Stores, objects: DirectoryObjectStore
) -> None:
    await ended_job(stores, objects)
    await objects.put("results/job_1/output.jsonl", b"cut")
    await compact(stores, objects)
    assert (await count(stores, "segments"), await place(stores)) == (3, "KEPT")


async def test_files_of_another_length_than_the_segments_leave_them_alone(
    stores: Stores, objects: DirectoryObjectStore
) -> None:
    await stores.ready_dataset(3)
    await stores.queued_job()
    await run_rows(stores, "job_1", 3)
    await stores.jobs.move_job("job_1", JobEvent.ROWS_DONE)
    output, errors = (
        ResultFile(key=f"results/job_1/{name}.jsonl", row_count=rows, byte_count=4, sha256="")
        for name, rows in (("output", 3), ("errors", 0))
    )
    for file in (output, errors):
        await objects.put(file.key, b"1234")
    await stores.results.finish_job("job_1", output, errors)
    await compact(stores, objects)
    assert await place(stores) == "KEPT"


async def test_a_file_that_is_gone_is_data_loss_and_a_job_that_is_gone_is_not(
    stores: Stores, objects: DirectoryObjectStore, reader: ResultReader
) -> None:
    await ended_job(stores, objects)
    await compact(stores, objects)
    await objects.delete("results/job_1/output.jsonl")
    with pytest.raises(ObjectNotFoundError):
        await reader.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)
    await objects.put("results/job_1/output.jsonl", b"cut")
    with pytest.raises(ObjectNotFoundError):
        await reader.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)
    found = await stores.results.segments("job_1", first_offset=0, error=None, max_bytes=1 << 20)
    await stores.jobs.delete_job("job_1")
    with pytest.raises(NotFoundError):
        await reader._with_bytes("job_1", found)


async def test_jobs_that_ended_just_now_stay_as_they_are(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await ended_job(stores, objects)
    await caretaker(RetentionPolicy()).make_round()
    assert await place(stores) == "SEGMENTS"
    await caretaker(RetentionPolicy(segments=None)).make_round()
    assert await place(stores) == "SEGMENTS"
    assert await caretaker(RetentionPolicy(segments=NOW)).make_round() == {"compacted": 1}


async def test_an_object_store_that_is_away_puts_it_off(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended_job(stores, objects)

    async def away(key: str) -> None:
        raise ObjectStoreError("the store is down", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(objects, "head", away)
        with pytest.raises(ObjectStoreError):
            await caretaker(RetentionPolicy(segments=NOW)).make_round()
    assert await place(stores) == "SEGMENTS"
    assert await caretaker(RetentionPolicy(segments=NOW)).make_round() == {"compacted": 1}
