"""A job is deleted while somebody reads its results: the reader learns of it, and never takes a part for the whole."""

import secrets
from collections.abc import AsyncIterator

import pytest
from lorax_batch_scheduler.errors import NotFoundError
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_server.download import Download
from lorax_batch_server.input_order import InputOrder
from lorax_batch_server.result_stream import ResultStream
from lorax_batch_server.stopping import Stopping

from tests.integration.api.conftest import Api
from tests.integration.api.finished_job import claim, commit_lines, settle

ROWS = 6
WIDE = 300_000
"""Characters of a row: no two fit one message, nor all of them one read of the store."""


@pytest.fixture
async def wide(api: Api) -> Api:
    """An ended job of wide rows, each committed by itself."""
    await api.stores.ready_dataset(ROWS)
    await api.stores.queued_job()
    chunk = await claim(api.stores, "job_1")
    for row in range(ROWS):
        await commit_lines(api.stores, chunk, {row: (row + 1, secrets.token_hex(WIDE // 2).encode() + b"\n")})
    await settle(api, "job_1", JobEvent.ROWS_DONE, output=bytes(1 << 20))
    return api


async def read_on(parts: AsyncIterator[object], api: Api) -> None:
    await anext(parts)
    await api.stores.jobs.delete_job("job_1")
    await api.objects.delete("results/job_1/output.jsonl")
    with pytest.raises(NotFoundError, match="job_1"):
        async for _ in parts:
            pass


@pytest.mark.parametrize("follow", [False, True])
async def test_a_stream_of_results_ends_with_an_error(wide: Api, follow: bool) -> None:
    stream = ResultStream(wide.stores.jobs, wide.stores.results, wide.stores.jobs, Stopping())
    await read_on(stream.rows("job_1", after=-1, follow=follow, error=None), wide)


async def test_a_stream_in_input_order_ends_with_an_error(wide: Api) -> None:
    stream = InputOrder(wide.stores.jobs, wide.stores.results, Stopping(), window_bytes=2 * WIDE)
    await read_on(stream.rows("job_1", after=-1, error=None), wide)


async def test_a_download_that_has_begun_ends_well_and_no_other_begins(wide: Api) -> None:
    download = Download(wide.stores.jobs, wide.objects, Stopping())
    pieces = download.pieces("job_1", error=False, offset=0)
    received = len((await anext(pieces)).data)
    await wide.stores.jobs.delete_job("job_1")
    await wide.objects.delete("results/job_1/output.jsonl")
    async for piece in pieces:
        received += len(piece.data)
    assert received == 1 << 20
    with pytest.raises(NotFoundError, match="job_1"):
        await anext(download.pieces("job_1", error=False, offset=0))
