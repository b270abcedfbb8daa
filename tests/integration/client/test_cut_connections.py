from pathlib import Path

import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb

from tests.faults.proxy import Proxy
from tests.integration.client.conftest import PERSISTENT, Caller
from tests.integration.client.messages import part, summary
from tests.integration.client.scripted_service import Service

CONTENT = b'{"custom_id":"x"}\n' * 100_000
BLOCK = 256 << 10


@pytest.mark.parametrize("kind", ["aio", "sync"])
async def test_a_download_survives_cut_connections(service: Service, tmp_path: Path, kind: str):
    service.script.serve("DownloadResults", download)
    with Proxy(service.target) as proxy:
        proxy.cut_after(300_000, 600_000)
        caller = Caller(proxy.address, kind, PERSISTENT)
        await caller.ask("download", "job_1", tmp_path / "out")
        await caller.close()
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert proxy.hits.cut == 2


@pytest.mark.parametrize("kind", ["aio", "sync"])
async def test_results_survive_cut_connections(service: Service, kind: str):
    service.script.serve("StreamResults", stream)
    with Proxy(service.target) as proxy:
        proxy.cut_after(30_000, 50_000)
        caller = Caller(proxy.address, kind, PERSISTENT)
        found = await caller.collect("results", "job_1")
        await caller.close()
    assert [row.offset for row in found] == list(range(500))
    assert [row.custom_id for row in found] == [str(number) for number in range(500)]
    assert proxy.hits.cut == 2


@pytest.mark.parametrize("kind", ["aio", "sync"])
async def test_an_upload_survives_cut_connections(service: Service, tmp_path: Path, kind: str):
    (tmp_path / "rows.jsonl").write_bytes(CONTENT)
    with Proxy(service.target) as proxy:
        proxy.cut_after(300_000, 900_000)
        caller = Caller(proxy.address, kind, PERSISTENT)
        dataset = await caller.ask("upload_dataset", tmp_path / "rows.jsonl")
        await caller.close()
    assert bytes(service.datasets.stored[dataset.dataset_id]) == CONTENT
    assert proxy.hits.cut == 2


def download(request: pb.DownloadResultsRequest) -> list[pb.DownloadResultsResponse]:
    begins = range(request.offset, len(CONTENT), BLOCK)
    return [part(CONTENT, begin, begin + BLOCK, first=begin == request.offset) for begin in begins]


def stream(request: pb.StreamResultsRequest) -> list[pb.StreamResultsResponse]:
    first = request.after_offset + 1 if request.HasField("after_offset") else 0
    lines = [b'{"custom_id":"%d","response":"%s"}' % (number, b"x" * 200) for number in range(first, 500)]
    blocks = [
        pb.StreamResultsResponse(
            rows=pb.ResultRows(lines=line + b"\n", first_offset=first + place, row_count=1, kind=pb.RESULT_KIND_OUTPUT)
        )
        for place, line in enumerate(lines)
    ]
    return [*blocks, summary(*lines)]
