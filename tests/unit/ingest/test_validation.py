"""Checking a file offline, and the sample dataset."""

import gzip
import json

import pytest
from lorax_batch_scheduler.dataset import InvalidLine
from lorax_batch_scheduler.ingest.validation import validate_file
from lorax_batch_scheduler.testing.sample import MISSING_ADAPTER, SAMPLE_ADAPTERS, write_sample

from tests.unit.ingest.lines_of import chat_line


def test_every_bad_line_is_told_not_only_the_first(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(chat_line("a") + b"{\n" * 50 + chat_line("a")))
    told: list[InvalidLine] = []
    summary = validate_file(path, told.append)
    assert [line.line for line in told] == list(range(2, 53))
    assert told[-1].code == "duplicate_custom_id"
    assert summary.invalid.line_count == 51
    assert len(summary.invalid.codes[0].first_lines) == 20


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        validate_file(tmp_path / "none", lambda line: None)


@pytest.mark.parametrize("rows", [0, 3, 4, 6, 900])
def test_the_sample_is_valid_and_the_same_for_the_same_seed(tmp_path, rows):
    one, two = tmp_path / "one", tmp_path / "two"
    failing = write_sample(one, rows, seed=5)
    write_sample(two, rows, seed=5)
    assert one.read_bytes() == two.read_bytes()
    bodies = [json.loads(line)["body"] for line in one.read_bytes().splitlines()]
    overlong = [body for body in bodies if len(body["messages"][1]["content"]) > 100_000]
    missing = [body for body in bodies if body["model"] == MISSING_ADAPTER]
    assert failing == len(overlong) + len(missing)
    summary = validate_file(one, lambda line: None)
    if rows:
        assert (summary.row_count, summary.invalid.line_count) == (rows, 0)
    if rows == 900:
        assert {model.model for model in summary.models} == {"", MISSING_ADAPTER, *SAMPLE_ADAPTERS}
        assert failing == 4
