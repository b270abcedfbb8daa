from pathlib import Path

import pytest
from lorax_batch_server.cli.run_record import RunRecord


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    return path


def record(file: Path, output: str = "out.jsonl", **arguments: str | int) -> RunRecord:
    return RunRecord.of_run(file.parent, file, file.parent / output, **arguments)


def test_the_same_run_finds_its_job_again(file: Path):
    record(file, base_model="m").write("job_1")
    again = record(file, base_model="m")
    assert again.job_id() == "job_1"
    assert again.other_job_ids() == []


def test_a_changed_input_leaves_the_old_job_to_be_cancelled(file: Path):
    record(file).write("job_1")
    file.write_text("{}\n{}\n")
    assert record(file).job_id() == ""
    assert record(file).other_job_ids() == ["job_1"]


def test_other_arguments_are_another_run(file: Path):
    record(file, base_model="m").write("job_1")
    assert record(file, base_model="n").job_id() == ""


def test_another_output_knows_nothing_of_the_job(file: Path):
    record(file).write("job_1")
    other = record(file, "other.jsonl")
    assert (other.job_id(), other.other_job_ids()) == ("", [])


def test_a_request_id_is_within_the_limit_of_the_service(file: Path):
    assert len(record(file).request_id) <= 128
