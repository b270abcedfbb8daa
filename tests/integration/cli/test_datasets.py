from pathlib import Path

import pytest
from lorax_batch.v1 import dataset_pb2

from tests.integration.cli.conftest import Command
from tests.integration.client.scripted_service import Service


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"custom_id":"a"}\n')
    return path


async def test_an_upload_shows_the_dataset(command: Command, service: Service, file: Path):
    ended = await command("datasets", "upload", file, "--name", "mine", "--on-invalid", "skip")
    assert ended.exit_code == 0
    assert "ds_0" in ended.stdout
    start = service.datasets.starts[0]
    assert (start.name, start.on_invalid) == ("mine", dataset_pb2.ON_INVALID_SKIP)


async def test_an_upload_from_standard_input_arrives_whole(command: Command, service: Service):
    ended = await command("datasets", "upload", "-", "--json", stdin=b"one\ntwo\n")
    assert ended.objects[0]["dataset_id"] == "ds_0"
    assert bytes(service.datasets.stored["ds_0"]) == b"one\ntwo\n"


async def test_an_invalid_dataset_ends_with_2_and_its_lines(command: Command, service: Service, file: Path):
    line = dataset_pb2.InvalidLine(line=7, code="invalid_url", param="url", message="is '/x'")
    code = dataset_pb2.InvalidCode(code="invalid_url", line_count=3, first_lines=[line])
    service.datasets.report = dataset_pb2.InvalidReport(line_count=3, codes=[code])
    service.datasets.final_state = dataset_pb2.DATASET_STATE_FAILED
    ended = await command("datasets", "upload", file)
    assert ended.exit_code == 2
    assert "invalid_url: 3 lines\n  line 7: url: is '/x'" in ended.stdout


async def test_a_file_that_is_not_there_is_named(command: Command, tmp_path: Path):
    ended = await command("datasets", "upload", tmp_path / "nope.jsonl")
    assert ended.exit_code == 2
    assert "nope.jsonl: No such file or directory" in ended.stderr


async def test_datasets_are_listed_one_object_a_line(command: Command, service: Service, file: Path):
    await command("datasets", "upload", file)
    ended = await command("datasets", "list", "--json")
    assert [(one["dataset_id"], one["state"]) for one in ended.objects] == [("ds_0", "ready")]


async def test_a_dataset_is_shown_and_deleted(command: Command, service: Service, file: Path):
    await command("datasets", "upload", file)
    assert (await command("datasets", "get", "ds_0", "--json")).objects[0]["byte_count"] == 18
    assert (await command("datasets", "delete", "ds_0")).stdout == "deleted ds_0\n"
    assert service.datasets.stored == {}


async def test_an_unknown_dataset_ends_with_2(command: Command):
    ended = await command("datasets", "get", "nope")
    assert (ended.exit_code, ended.stderr) == (2, "lorax-batch: no dataset 'nope'\n")
