"""Streams that are cut anywhere and continued: the same rows, the same moves, the same bytes."""

import asyncio
import hashlib
import itertools
from contextlib import aclosing

from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.dataset import NewDataset, OnInvalid
from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.ingest.uploads import DatasetUpload, UploadLimits
from lorax_batch_scheduler.job import JobEvent, JobFilter, JobState
from lorax_batch_server.result_stream import ResultStream, StreamSummary
from lorax_batch_server.row_packer import PackedRows
from lorax_batch_server.stopping import Stopping
from lorax_batch_server.upload_checksum import UploadChecksum
from lorax_batch_server.watch import WatchHub
from lorax_batch_server.watcher import Heartbeat, Progress, Snapshot, StateChanged

from tests.integration.api.finished_job import claim, commit_lines
from tests.integration.ingest.conftest import Place, place
from tests.integration.postgres.conftest import Stores, stores
from tests.properties.effort import examples

__all__ = ["place", "stores"]

_numbers = itertools.count(1)
HUGE = 150_000
"""Two such lines fill a message."""


@examples(10)
@given(
    pieces=st.lists(st.lists(st.sampled_from([1, 50, HUGE]), min_size=1, max_size=4), min_size=1, max_size=5),
    failed=st.sets(st.integers(0, 19)),
    only=st.sampled_from([None, True, False]),
)
async def test_results_are_the_same_from_any_place_on(
    stores: Stores, pieces: list[list[int]], failed: set[int], only: bool | None
) -> None:
    """Rows of any size, committed in any pieces; a stream is cut behind each of its messages and begun anew."""
    job_id, dataset_id = f"job_{(number := next(_numbers))}", f"ds_{number}"
    row_count = sum(len(sizes) for sizes in pieces)
    await stores.ready_dataset(row_count, dataset_id=dataset_id)
    await stores.queued_job(job_id, dataset_id)
    lease = await claim(stores, job_id)
    rows = itertools.count()
    committed: list[tuple[bool, bytes]] = []
    for sizes in pieces:
        lines = {row: (row + 1, b"%d:%s\n" % (row, b"x" * size)) for size, row in zip(sizes, rows, strict=False)}
        await commit_lines(stores, lease, lines, failed=failed)
        for error in (False, True):
            committed += [(error, text) for row, (_, text) in lines.items() if (row in failed) == error]
    stream = ResultStream(stores.jobs, stores.results, stores.jobs, Stopping())
    for after in range(-1, len(committed) - 1):
        expected = b"".join(text for error, text in committed[after + 1 :] if only in (None, error))
        got, position, done = b"", after, False
        while not done:
            rows_behind = stream.rows(job_id, after=position, follow=False, error=only)
            async with aclosing(rows_behind) as parts:  # type: ignore[type-var]
                part = await anext(parts)
                if isinstance(part, PackedRows):
                    assert part.first_offset > position
                    got, position = got + part.lines, part.first_offset + part.row_count - 1
                    done = position == len(committed) - 1
                else:
                    assert isinstance(part, StreamSummary)
                    done = True
        assert got == expected


@examples(8)
@given(
    story=st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from([JobEvent.PAUSE, JobEvent.RESUME, JobEvent.ASSIGN, JobEvent.START])
        ),
        min_size=4,
        max_size=20,
    ),
    cuts=st.lists(st.integers(1, 4), min_size=20, max_size=20),
)
async def test_a_watch_tells_every_move_once_however_often_it_is_cut(
    stores: Stores, story: list[tuple[int, JobEvent]], cuts: list[int]
) -> None:
    number = next(_numbers)
    await stores.ready_dataset(1, dataset_id=f"ds_{number}")
    job_ids = [f"job_{number}_{which}" for which in range(2)]
    for job_id in job_ids:
        await stores.queued_job(job_id, f"ds_{number}")
    first = await stores.jobs.latest_sequence()
    hub = WatchHub(stores.jobs, stores.jobs, Stopping(), poll_s=0.05, progress_interval_s=0.001)
    running = asyncio.create_task(hub.run())
    moved = asyncio.create_task(_move(stores, job_ids, story))
    told: list[tuple[int, str, JobState | None]] = []
    cursor = first
    try:
        async with asyncio.timeout(30):
            for cut in itertools.cycle(cuts):
                if moved.done() and len(told) == moved.result():
                    break
                cursor = await _watch_a_little(hub, cursor, cut, told, job_ids)
    finally:
        running.cancel()
        await asyncio.wait([running, moved])
    changes = await stores.jobs.state_changes(first, limit=1_000)
    assert told == [(change.sequence, change.job_id, change.to_state) for change in changes]
    assert [sequence for sequence, _, _ in told] == list(range(first + 1, first + 1 + len(told)))


async def _move(stores: Stores, job_ids: list[str], story: list[tuple[int, JobEvent]]) -> int:
    count = 0
    for which, event in story:
        try:
            await stores.jobs.move_job(job_ids[which], event)
        except StateConflictError:
            continue
        count += 1
    return count


async def _watch_a_little(
    hub: WatchHub, cursor: int, count: int, told: list[tuple[int, str, JobState | None]], job_ids: list[str]
) -> int:
    """Read some state changes behind the cursor, or none when there are none for a moment; return the new cursor."""
    async with aclosing(hub.watch(JobFilter(), cursor)) as happenings:  # type: ignore[type-var]
        try:
            async with asyncio.timeout(0.1):
                async for happening in happenings:
                    assert happening.sequence >= cursor
                    cursor = happening.sequence
                    if isinstance(happening, StateChanged):
                        told.append((cursor, happening.change.job_id, happening.change.to_state))
                        count -= 1
                    else:
                        assert isinstance(happening, Progress | Heartbeat | Snapshot)
                    if not count:
                        break
        except TimeoutError:
            pass
    return cursor


@examples(15)
@given(
    data=st.binary(min_size=1, max_size=4_000),
    streams=st.lists(st.tuples(st.lists(st.integers(1, 1_500), max_size=4), st.booleans()), max_size=6),
)
async def test_an_upload_that_is_cut_anywhere_has_the_same_bytes(
    place: Place, data: bytes, streams: list[tuple[list[int], bool]]
) -> None:
    """Each stream sends some messages and ends orderly, or is gone without a word; the next asks what is stored."""
    dataset_id = f"ds_{next(_numbers)}"
    limits = UploadLimits(part_bytes=1_000)
    await place.datasets.create_dataset(
        NewDataset(dataset_id=dataset_id, name="rows", on_invalid=OnInvalid.FAIL, source_path=None)
    )
    for sizes, orderly in streams:
        offset = (await place.datasets.get_dataset(dataset_id)).stored_bytes
        upload = await DatasetUpload.begin(place.datasets, place.objects, dataset_id, offset=offset, limits=limits)
        for size in sizes:
            await upload.write(data[offset : offset + size])
            offset = min(offset + size, len(data))
        if orderly:
            await upload.pause()
    offset = (await place.datasets.get_dataset(dataset_id)).stored_bytes
    upload = await DatasetUpload.begin(place.datasets, place.objects, dataset_id, offset=offset, limits=limits)
    checksum = UploadChecksum(place.datasets, place.objects, dataset_id, offset=offset)
    await upload.write(data[offset:])
    await checksum.update(data[offset:])
    await upload.pause()
    assert await checksum.hexdigest() == hashlib.sha256(data).hexdigest()
    await upload.finish(None)
    parts = await place.datasets.upload_parts(dataset_id)
    assert b"".join([await place.objects.get(part.key) for part in parts]) == data
