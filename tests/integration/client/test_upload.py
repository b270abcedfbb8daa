import io
import json
from pathlib import Path

import pytest
from lorax_batch_client import DatasetState
from lorax_batch_client.errors import InvalidRequestError, NotFoundError, SourceChangedError

from tests.integration.client.conftest import Caller
from tests.integration.client.scripted_service import Service

MEBIBYTE = 1 << 20


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(bytes(range(256)) * (3 * MEBIBYTE // 256) + b"end\n")
    return path


async def test_a_file_arrives_whole_under_its_own_name(caller: Caller, service: Service, big_file: Path):
    dataset = await caller.ask("upload_dataset", big_file)
    assert dataset.state is DatasetState.READY
    assert bytes(service.datasets.stored[dataset.dataset_id]) == big_file.read_bytes()
    assert service.datasets.starts[0].name == "rows.jsonl"
    assert service.datasets.starts[0].total_bytes == 3 * MEBIBYTE + 4


async def test_progress_ends_with_all_bytes(caller: Caller, service: Service, big_file: Path):
    seen: list[tuple[int, int]] = []
    await caller.ask("upload_dataset", big_file, progress=lambda sent, total: seen.append((sent, total)))
    total = 3 * MEBIBYTE + 4
    assert seen == [(MEBIBYTE, total), (2 * MEBIBYTE, total), (3 * MEBIBYTE, total), (total, total)]


async def test_a_broken_upload_goes_on_from_the_stored_offset(caller: Caller, service: Service, big_file: Path):
    service.datasets.break_after = [MEBIBYTE, MEBIBYTE]
    dataset = await caller.ask("upload_dataset", big_file)
    assert bytes(service.datasets.stored[dataset.dataset_id]) == big_file.read_bytes()
    assert [start.offset for start in service.datasets.starts] == [0, MEBIBYTE, 2 * MEBIBYTE]


async def test_a_lost_answer_is_asked_for_again(caller: Caller, service: Service, big_file: Path):
    service.datasets.lost_answers = 1
    dataset = await caller.ask("upload_dataset", big_file)
    assert dataset.state is DatasetState.READY
    assert len(service.datasets.starts) == 1


async def test_an_upload_goes_on_where_another_process_left_it(caller: Caller, service: Service, big_file: Path):
    service.datasets.dataset_ids["mine"] = "ds_old"
    service.datasets.stored["ds_old"] = bytearray(big_file.read_bytes()[:1000])
    service.datasets.states["ds_old"] = 1
    dataset = await caller.ask("upload_dataset", big_file, request_id="mine")
    assert dataset.dataset_id == "ds_old"
    assert service.datasets.starts[0].offset == 1000
    assert bytes(service.datasets.stored["ds_old"]) == big_file.read_bytes()


async def test_a_file_that_became_shorter_is_refused(caller: Caller, service: Service, tmp_path: Path):
    path = tmp_path / "short.jsonl"
    path.write_bytes(b"x" * 10)
    service.datasets.dataset_ids["mine"] = "ds_old"
    service.datasets.stored["ds_old"] = bytearray(1000)
    service.datasets.states["ds_old"] = 1
    with pytest.raises(SourceChangedError, match=r"'short\.jsonl' had 10 bytes"):
        await caller.ask("upload_dataset", path, request_id="mine")


async def test_rows_are_written_as_json_lines(caller: Caller, service: Service):
    rows = [{"custom_id": "ä"}, '{"custom_id": "b"}\n', b'{"custom_id": "c"}']
    dataset = await caller.ask("upload_dataset", iter(rows), name="mine")
    lines = bytes(service.datasets.stored[dataset.dataset_id]).decode().splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["ä", "b", "c"]
    assert service.datasets.starts[0].name == "mine"


async def test_an_open_file_is_uploaded_from_where_it_stands(caller: Caller, service: Service):
    file = io.BytesIO(b"skipped\nkept\n")
    file.seek(8)
    dataset = await caller.ask("upload_dataset", file)
    assert bytes(service.datasets.stored[dataset.dataset_id]) == b"kept\n"


async def test_a_row_of_another_type_is_refused_before_anything_is_sent(caller: Caller, service: Service):
    with pytest.raises(TypeError, match="not int"):
        await caller.ask("upload_dataset", [1])
    assert service.datasets.starts == []


async def test_a_failing_progress_callback_ends_the_upload_with_its_error(
    caller: Caller, service: Service, big_file: Path
):
    def fail(sent: int, total: int) -> None:
        raise InvalidRequestError("from the callback")

    with pytest.raises(InvalidRequestError, match="from the callback"):
        await caller.ask("upload_dataset", big_file, progress=fail)


async def test_an_unknown_dataset_is_named(caller: Caller):
    with pytest.raises(NotFoundError, match="no dataset 'nope'"):
        await caller.ask("get_dataset", "nope")


async def test_all_pages_of_datasets_are_listed(caller: Caller, service: Service):
    for name in ("ds_a", "ds_b", "ds_c"):
        service.datasets.stored[name] = bytearray()
        service.datasets.states[name] = 3
    assert [one.dataset_id for one in await caller.collect("list_datasets")] == ["ds_a", "ds_b", "ds_c"]
